import { GraphiQL } from "graphiql";
import type { Fetcher } from "./fetcher";
import type { Sample } from "./samples";
import { storage } from "./storage";

const SCALARS = { DateTime: { type: "string", format: "date-time" } };

interface PageProps {
  fetcher: Fetcher;
  notice: string | null;
  samples: Sample[];
}

export function Page({ fetcher, notice, samples }: PageProps) {
  return (
    <>
      {notice && (
        <p role="status" className="notice">
          {notice}
        </p>
      )}
      <main>
        <GraphiQL
          customScalarSchemas={SCALARS}
          defaultEditorToolsVisibility="variables"
          defaultTabs={samples}
          fetcher={fetcher}
          showPersistHeadersSettings={false}
          storage={storage}
        >
          <GraphiQL.Logo>Leyr gateway</GraphiQL.Logo>
        </GraphiQL>
      </main>
    </>
  );
}
