/** What the server says of itself in the page. */
export interface Server {
  /** What is to be said above the page, such as that the data is simulated; null when there is nothing. */
  notice: string | null;
  /** What callers have to send: `API key` or `Token`; null where everyone may ask. */
  credential: string | null;
  /** Where the clinics of the first EHR lie. */
  timeZone: string;
}

const CREDENTIALS: Record<string, string> = { "api-keys": "API key", jwt: "Token" };

export function readServer(page: Document): Server {
  const said = (name: string) => page.querySelector<HTMLMetaElement>(`meta[name="gateway-${name}"]`)?.content.trim();
  return {
    notice: said("notice") || null,
    credential: CREDENTIALS[said("auth") ?? ""] ?? null,
    timeZone: said("time-zone") || "UTC",
  };
}
