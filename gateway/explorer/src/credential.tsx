import { useState } from "react";

// The session's storage: it outlives a reload, and ends with the tab.
const STORED_AS = "leyr-gateway:credential";

export function storedCredential(): string {
  return sessionStorage.getItem(STORED_AS) ?? "";
}

function store(credential: string) {
  if (credential) sessionStorage.setItem(STORED_AS, credential);
  else sessionStorage.removeItem(STORED_AS);
}

// Such as a space of no width, which is copied along from some pages.
function fitsHeader(credential: string): boolean {
  try {
    new Headers({ authorization: `Bearer ${credential}` });
    return true;
  } catch {
    return false;
  }
}

interface CredentialFieldProps {
  /** `API key` or `Token`. */
  label: string;
  credential: string;
  isRefused: boolean;
  onCredential(credential: string): void;
}

/** Takes what is written at Enter or when the field is left, and what is pasted at once. */
export function CredentialField({ label, credential, isRefused, onCredential }: CredentialFieldProps) {
  const [written, setWritten] = useState(credential);

  function take(text: string) {
    const found = text.trim();
    if (found === credential) return;
    store(found);
    onCredential(found);
  }

  let hint = "Sent with every request, and kept in this tab alone, until it is closed.";
  if (!credential) hint = "The schema is read as soon as it is here.";
  if (isRefused) hint = "The gateway refuses it.";
  const isSendable = fitsHeader(credential);
  if (!isSendable) hint = "It cannot be sent: it holds a character that no header can carry.";
  return (
    <div className="credential">
      <label htmlFor="credential">{label}</label>
      {/* No password's field: the browser would offer to keep it for good. */}
      <input
        id="credential"
        type="text"
        autoComplete="off"
        autoCapitalize="off"
        spellCheck={false}
        value={written}
        aria-describedby="credential-hint"
        aria-invalid={isRefused || !isSendable}
        onChange={(event) => {
          setWritten(event.target.value);
          if ((event.nativeEvent as InputEvent).inputType === "insertFromPaste") take(event.target.value);
        }}
        onBlur={() => take(written)}
        onKeyDown={(event) => {
          if (event.key === "Enter") take(written);
        }}
      />
      <span id="credential-hint" role="status">
        {hint}
      </span>
    </div>
  );
}
