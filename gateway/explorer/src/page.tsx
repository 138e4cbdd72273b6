import { useMemo, useRef, useState } from "react";
import { GraphiQL } from "graphiql";
import { AnswerDetails } from "./answer";
import { CredentialField, storedCredential } from "./credential";
import { createFetcher, type Answer } from "./fetcher";
import type { Sample } from "./samples";
import type { Server } from "./server";
import { storage } from "./storage";

const SCALARS = { DateTime: { type: "string", format: "date-time" } };
const UNAUTHENTICATED = 401;

interface PageProps {
  url: string;
  server: Server;
  samples: Sample[];
}

export function Page({ url, server, samples }: PageProps) {
  const [credential, setCredential] = useState(server.credential ? storedCredential() : "");
  const [isRefused, setRefused] = useState(false);
  const [answer, setAnswer] = useState<Answer | null>(null);
  const [explains, setExplains] = useState(true);
  const isExplaining = useRef(explains);
  isExplaining.current = explains;
  const current = useRef(credential);
  current.current = credential;
  // GraphiQL reads the schema again with another fetcher, so there is one for each credential.
  const fetcher = useMemo(() => {
    const onAnswer = (found: Answer) => {
      setRefused(found.status === UNAUTHENTICATED);
      if (!found.isOfIntrospection) setAnswer(found);
    };
    const isCurrent = () => current.current === credential;
    return createFetcher(url, { credential, isCurrent, explains: () => isExplaining.current, onAnswer });
  }, [url, credential]);

  return (
    <>
      {server.notice && (
        <p role="status" className="notice">
          {server.notice}
        </p>
      )}
      {server.credential && (
        <CredentialField
          label={server.credential}
          credential={credential}
          isRefused={isRefused}
          onCredential={(given) => {
            setRefused(false);
            setCredential(given);
          }}
        />
      )}
      <main>
        <GraphiQL
          customScalarSchemas={SCALARS}
          defaultEditorToolsVisibility="variables"
          defaultTabs={samples}
          fetcher={fetcher}
          // Null: it is not asked for, since that would be refused.
          schema={server.credential && !credential ? null : undefined}
          showPersistHeadersSettings={false}
          storage={storage}
        >
          <GraphiQL.Logo>Leyr gateway</GraphiQL.Logo>
          <GraphiQL.Footer>
            <AnswerDetails answer={answer} explains={explains} onExplains={setExplains} />
          </GraphiQL.Footer>
        </GraphiQL>
      </main>
    </>
  );
}
