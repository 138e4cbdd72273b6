import { createRoot } from "react-dom/client";
import "./styles.css";
import "./workers";
import { Page } from "./page";
import { samples } from "./samples";
import { readServer } from "./server";

const root = createRoot(document.getElementById("page")!);
const server = readServer(document);

root.render(<Page url={location.pathname} server={server} samples={samples(new Date(), server.timeZone)} />);
