/** Commands as hints: a profile name may hold anything, in a command it must stay one word. */

/** Quotes for a POSIX shell where that is needed. */
export function quoteWord(text: string): string {
  return /^[A-Za-z0-9_.@%+=:,/-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

/** `prefect-auth login --profile cloud` */
export function loginCommand(profile: string): string {
  return `prefect-auth login --profile ${quoteWord(profile)}`
}
