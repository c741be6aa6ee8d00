/** Pure: keys do not belong on a command line, where every process of the machine can read them. */

const KEY = /(?:^|[=:,\s"'])(?:pn[a-z]_[A-Za-z0-9]{8,}|pab_[A-Za-z0-9_-]{20,})/

export const KEY_ARGUMENT = {
  code: 'usage',
  kind: 'usage',
  detail:
    'an argument looks like a key or a token: other processes can read arguments, and the shell keeps them.\n' +
    'Nothing was done with it; delete the line from the history of your shell',
  hint: 'prefect-auth login --key-stdin < FILE      (or: prefect-auth login, and paste it there)',
} as const

/** Whether a word holds a Prefect key, or a token of ours. */
export function looksLikeKey(word: string): boolean {
  return KEY.test(word)
}
