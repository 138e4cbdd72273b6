import { createRoot } from "react-dom/client";
import "./styles.css";
import "./workers";
import { createFetcher } from "./fetcher";
import { readNotice } from "./notice";
import { Page } from "./page";
import { samples } from "./samples";

const root = createRoot(document.getElementById("page")!);

root.render(
  <Page
    fetcher={createFetcher(location.pathname)}
    notice={readNotice(document)}
    samples={samples(new Date())}
  />,
);
