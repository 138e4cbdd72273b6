/** Asks the gateway: one request a question, and no more than one question at a time. */

import type { TypedDocumentNode } from "@graphql-typed-document-node/core";
import { type AnyVariables, Client, fetchExchange, type OperationResult } from "@urql/core";

const url = document.querySelector<HTMLMetaElement>('meta[name="gateway"]')?.content ?? "";
// Nothing is kept here: the gateway remembers, and free times are soon old.
const client = new Client({ url, exchanges: [fetchExchange], preferGetMethod: false });

/** Give up the question that is under way. */
export let giveUp = (): void => undefined;

/** Ask a question in place of the one before, which is given up; with `fresh`, the clinic is asked anew. */
export function ask<Data, Variables extends AnyVariables>(
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
  answered: (result: OperationResult<Data, Variables>) => void,
  fresh = false,
): void {
  giveUp();
  const headers: Record<string, string> = fresh ? { "cache-control": "no-cache" } : {};
  const { unsubscribe } = client.query(document, variables, { fetchOptions: { headers } }).subscribe(answered);
  giveUp = unsubscribe;
}
