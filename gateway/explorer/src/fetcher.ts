import type { ComponentProps } from "react";
import type { GraphiQL } from "graphiql";

export type Fetcher = ComponentProps<typeof GraphiQL>["fetcher"];

/** Sends operations to `url` in the manner of GraphQL over HTTP. */
export function createFetcher(url: string): Fetcher {
  return async (operation, options) => {
    const response = await fetch(url, {
      method: "POST",
      credentials: "same-origin",
      headers: {
        "content-type": "application/json",
        accept: "application/graphql-response+json, application/json;q=0.9",
        ...options?.headers,
      },
      body: JSON.stringify(operation),
    });
    return readAnswer(response);
  };
}

async function readAnswer(response: Response) {
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    // A proxy on the way may answer for the gateway, and its page helps nobody here.
    const message = `The answer, with HTTP status ${response.status}, is not JSON.`;
    return { errors: [{ message }] };
  }
}
