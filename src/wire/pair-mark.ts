/** Tells the pair that `prefect-auth hook` set in a shell from one that was set by hand. */
import { sha256Hex } from '../std/secret.js'

type Shown = Readonly<Record<string, string | undefined>>

/**
 * The value of `PREFECT_AUTH_SET`: as long as it fits what the shell has, the pair there is the one that we set. Empty for a shell
 * without any.
 */
export function pairMark({ PREFECT_API_URL, PREFECT_API_KEY, PREFECT_API_AUTH_STRING }: Shown): string {
  const parts = [PREFECT_API_URL, PREFECT_API_KEY, PREFECT_API_AUTH_STRING].map((part) => part ?? '')
  return parts.every((part) => part === '') ? '' : sha256Hex(parts.join('\0')).slice(0, 16)
}
