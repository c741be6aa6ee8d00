/** Forgets what we hold for a profile; what lives at Prefect lives on. */
import type { KeyKeeper } from '../keys/keeper.js'

/** Answers the fingerprints. The ledger first, so that a crash between leaves items that nobody names. */
export async function forgetKeys(keeper: KeyKeeper, name: string): Promise<readonly string[]> {
  const keys = Object.values(keeper.ledger().keys).filter(({ profile }) => profile === name)
  await keeper.storeAuthString(name, '', '', undefined)
  await keeper.resetProfile(name)
  for (const { item } of keys) await keeper.forget(item)
  return keys.map(({ fingerprint }) => fingerprint)
}
