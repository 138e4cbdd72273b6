import type { Answer } from "./fetcher";

interface AnswerDetailsProps {
  answer: Answer | null;
  explains: boolean;
  onExplains(explains: boolean): void;
}

/** The status and headers of the last answer, and what the gateway says it took. */
export function AnswerDetails({ answer, explains, onExplains }: AnswerDetailsProps) {
  return (
    <section className="answer" aria-label="Answer's details">
      <label>
        <input type="checkbox" checked={explains} onChange={(event) => onExplains(event.target.checked)} />
        Explain
      </label>
      {answer && (
        <details>
          <summary>
            HTTP {answer.status}
            {summary(answer.report)}
          </summary>
          <h3>Headers</h3>
          <dl>
            {answer.headers.map(([name, value]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{value}</dd>
              </div>
            ))}
          </dl>
          {answer.report !== undefined && (
            <>
              <h3>extensions.gateway</h3>
              <pre>{JSON.stringify(answer.report, null, 2)}</pre>
            </>
          )}
        </details>
      )}
    </section>
  );
}

const COUNTS = ["planned", "merged", "fetched", "joined", "shared", "cached", "stale"];

function summary(report: unknown): string {
  if (typeof report !== "object" || report === null) return "";
  const counts = Object.entries(report).filter(([name, count]) => COUNTS.includes(name) && count);
  return counts.map(([name, count]) => ` · ${count} ${name}`).join("");
}
