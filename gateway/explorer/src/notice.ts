/** What the server wants said above the page, such as that the data is simulated; null when there is nothing. */
export function readNotice(page: Document): string | null {
  const meta = page.querySelector<HTMLMetaElement>('meta[name="gateway-notice"]');
  return meta?.content.trim() || null;
}
