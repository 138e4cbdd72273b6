/** Asks the gateway: one request a question, and no more than one question about free times at a time. */

import type { TypedDocumentNode } from "@graphql-typed-document-node/core";
import { type AnyVariables, Client, type CombinedError, fetchExchange, type OperationResult } from "@urql/core";

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

/** Ask what is not given up, whatever else is asked meanwhile. */
export function askApart<Data, Variables extends AnyVariables>(
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
): Promise<OperationResult<Data, Variables>> {
  return client.query(document, variables).toPromise();
}

/** Change something; nobody gives that up. */
export function change<Data, Variables extends AnyVariables>(
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
): Promise<OperationResult<Data, Variables>> {
  return client.mutation(document, variables).toPromise();
}

/** Errors that say by themselves that nothing was sent to the clinic. */
const NOTHING_SENT = [
  "BAD_USER_INPUT",
  "FORBIDDEN",
  "UNAUTHENTICATED",
  "RATE_LIMITED",
  "OVERLOADED",
  "OPERATION_TOO_LARGE",
];

/** Whether it is certain from an error that nothing was sent; one below a mutation's field comes after it. */
export function saysNothingWasSent(error: CombinedError | undefined): boolean {
  const errors = error?.graphQLErrors ?? [];
  if (!errors.length || error?.networkError) return false;
  return errors.every(({ extensions, path = [] }) => NOTHING_SENT.includes(`${extensions["code"]}`) && path.length < 2);
}
