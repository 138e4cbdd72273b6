import type { ComponentProps } from "react";
import type { GraphiQL } from "graphiql";

export type Fetcher = ComponentProps<typeof GraphiQL>["fetcher"];

/** What an HTTP response says beside its data. */
export interface Answer {
  status: number;
  headers: [name: string, value: string][];
  /** `extensions.gateway`: what the answer was made of. */
  report: unknown;
  isOfIntrospection: boolean;
}

interface FetcherOptions {
  /** An API key or a token; none where it is empty. */
  credential: string;
  /** Whether no other credential was given meanwhile. */
  isCurrent(): boolean;
  /** Whether the gateway is to say what an answer took. */
  explains(): boolean;
  onAnswer(answer: Answer): void;
}

/** Sends operations to `url` in the manner of GraphQL over HTTP. */
export function createFetcher(url: string, { credential, isCurrent, explains, onAnswer }: FetcherOptions): Fetcher {
  return async (operation, options) => {
    const isOfIntrospection = operation.operationName === "IntrospectionQuery";
    const headers = new Headers({
      "content-type": "application/json",
      accept: "application/graphql-response+json, application/json;q=0.9",
    });
    if (explains() && !isOfIntrospection) headers.set("x-gateway-explain", "1");
    for (const [name, value] of Object.entries(options?.headers ?? {})) headers.set(name, String(value));
    // What is written in the editor of headers was written for this request.
    if (credential && !headers.has("authorization") && !headers.has("x-api-key")) {
      headers.set("authorization", `Bearer ${credential}`);
    }
    const body = JSON.stringify(operation);
    const response = await fetch(url, { method: "POST", credentials: "same-origin", headers, body });
    const found = await readBody(response);
    if (!isCurrent()) throw new Error("Another key was given meanwhile.");
    onAnswer({
      status: response.status,
      headers: [...response.headers],
      report: found.extensions?.gateway,
      isOfIntrospection,
    });
    // Where data are missing altogether, GraphiQL sends the same introspection again.
    return isOfIntrospection ? { data: null, ...found } : found;
  };
}

async function readBody(response: Response) {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    // A proxy on the way may answer for the gateway, and its page helps nobody here.
    const message = `The answer, with HTTP status ${response.status}, is not JSON.`;
    return { errors: [{ message }] };
  }
}
