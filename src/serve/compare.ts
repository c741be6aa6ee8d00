/** Compares answers without revealing what is in them. Pure. */

import { sha256Hex } from '../std/secret.js'
import type { ProfileState, Served } from './credentials.js'

/** Identifies an answer without revealing it: everything that a caller sees, with secrets as fingerprints. */
export function digestOf({ outcome }: ProfileState): string {
  const facts =
    outcome.kind === 'refused'
      ? ['refused', outcome.error.code]
      : tellable({ ...outcome.served, generation: 0 })
  return sha256Hex(JSON.stringify(facts)).slice(0, 32)
}

/** Whether nothing that is shown or used has changed: the object, and its rendered answer, can be kept. */
export function isSame(before: ProfileState, after: ProfileState): boolean {
  return JSON.stringify(comparable(before)) === JSON.stringify(comparable(after))
}

function comparable({ outcome, resolved, ...rest }: ProfileState): unknown {
  const { fileKey, fileAuthString, customHeaders } = resolved
  const inFile = [fileKey, fileAuthString, customHeaders].map((secret) => secret?.fingerprint())
  if (outcome.kind === 'served') return { ...rest, resolved, inFile, served: tellable(outcome.served) }
  const { code, message, hint } = outcome.error
  return { ...rest, resolved, inFile, refused: [code, message, hint] }
}

/** All secrets print alike, in JSON too: only their fingerprints tell them apart. */
function tellable({ apiKey, authString, ...rest }: Served): unknown {
  return { ...rest, apiKey: apiKey?.fingerprint(), authString: authString?.fingerprint() }
}
