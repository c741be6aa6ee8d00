/** Tokens that are computed again whenever they are needed, from one secret in the vault. */

import { createHmac } from 'node:crypto'
import { Secret } from '../std/secret.js'
import type { Vault } from '../vault/vault.js'

/** Where the vault has it. */
export const TOKEN_SECRET_ITEM = 'tokens:secret'

/** 43 characters of base64url. No part may contain a NUL. */
export function deriveToken(secret: Secret, parts: readonly string[]): string {
  const key = secret.reveal() // keys the HMAC and goes nowhere else
  return createHmac('sha256', key).update(parts.join('\0')).digest('base64url')
}

/** The secret of this installation, made when it is first needed. Rejects as the vault does; the next call tries again. */
export function createTokenSecret({
  vault,
  randomToken,
}: {
  readonly vault: Pick<Vault, 'get' | 'put'>
  readonly randomToken: () => string
}): () => Promise<Secret> {
  let known: Promise<Secret> | undefined
  const load = async () => {
    const found = await vault.get(TOKEN_SECRET_ITEM)
    if (found !== undefined) return found
    const made = new Secret(randomToken())
    await vault.put(TOKEN_SECRET_ITEM, made)
    return made
  }
  return () => {
    known ??= load().catch((error: unknown) => {
      known = undefined
      throw error
    })
    return known
  }
}
