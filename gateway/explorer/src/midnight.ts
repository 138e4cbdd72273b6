const MINUTE_MILLISECONDS = 60_000;
const DAY_MILLISECONDS = 24 * 60 * MINUTE_MILLISECONDS;

/** The midnight with which a local day begins, so many days from now, with the zone's offset of that instant. */
export function midnight(now: Date, days: number, timeZone: string): string {
  // The local time as if it were UTC, in which every day has 24 hours.
  const local = now.getTime() + offsetMinutes(now.getTime(), timeZone) * MINUTE_MILLISECONDS;
  const wanted = (Math.floor(local / DAY_MILLISECONDS) + days) * DAY_MILLISECONDS;
  const about = wanted - offsetMinutes(wanted, timeZone) * MINUTE_MILLISECONDS;
  const offset = offsetMinutes(about, timeZone);
  return `${new Date(wanted).toISOString().slice(0, 19)}${written(offset)}`;
}

function offsetMinutes(instant: number, timeZone: string): number {
  const parts = new Intl.DateTimeFormat("en", { timeZone, timeZoneName: "longOffset" }).formatToParts(instant);
  const name = parts.find(({ type }) => type === "timeZoneName")?.value ?? "GMT";
  const found = /([+-])(\d\d):(\d\d)/.exec(name);
  return found ? Number(`${found[1]}1`) * (Number(found[2]) * 60 + Number(found[3])) : 0;
}

function written(offset: number): string {
  const [hours, minutes] = [Math.floor(Math.abs(offset) / 60), Math.abs(offset) % 60];
  const digits = [hours, minutes].map((each) => String(each).padStart(2, "0")).join(":");
  return `${offset < 0 ? "-" : "+"}${digits}`;
}
