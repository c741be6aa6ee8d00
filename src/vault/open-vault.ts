/** Opens the vault that was chosen at the first start, or chooses one now and records which and why. */
import { randomUUID } from 'node:crypto'
import { BrokerError, isBrokerError } from '../base/errors.js'
import { ensurePrivateDirectory, readPrivateFile } from '../os/private-files.js'
import { defined } from '../std/defined.js'
import { planVault, readVaultChoice, type VaultChoice, writeVaultChoice } from './choice.js'
import { readDataKey } from './data-key.js'
import { createMovableVault } from './movable.js'
import { isKeychainLeft, settleMove } from './move.js'
import { chooseWrap, openChosen, type VaultDependencies, vaultDir } from './open-chosen.js'
import { moveSteps, moveTo } from './target.js'
import type { MovableVault, Vault } from './vault.js'
import { createWaitingVault } from './waiting.js'

/**
 * Rejects with `setting_invalid` (the settings contradict the choice), `state_corrupt`, `vault_corrupt`,
 * `state_dir_unsafe`, `disk_failed`; at the first start also as a keychain or wrap that the settings demand. A vault chosen
 * earlier that is unavailable today is not an error here: `describe()` and every call say so.
 */
export async function openVault(dependencies: VaultDependencies): Promise<MovableVault> {
  const { stateDir, log } = dependencies
  await ensurePrivateDirectory(stateDir)
  const steps = moveSteps(dependencies)
  // Never rejects: what is left of a move holds up nothing, and the next move ends it first.
  const tidy = () =>
    settleMove(steps).catch((error: unknown) => log.warn({ error }, 'old vault not removed; will retry'))
  const isSlow = await isKeychainLeft(stateDir).catch(() => false)
  if (!isSlow) await tidy()
  const first = await openRecorded(dependencies)
  // A keychain that hangs must not hold up the start.
  const tidied = isSlow ? tidy() : Promise.resolve()
  return createMovableVault({
    first,
    tidy,
    async move(from, request, items) {
      await tidied
      await settleMove(steps)
      return moveTo(dependencies, { from, request, items })
    },
  })
}

async function openRecorded(dependencies: VaultDependencies): Promise<Vault> {
  const { settings, stateDir, log, namedItems } = dependencies
  const recorded = await readVaultChoice(stateDir, readPrivateFile)
  const plan = planVault({
    settings,
    stateDir,
    recorded: recorded.kind === 'good' ? recorded.choice : undefined,
    isDamaged: recorded.kind === 'damaged',
    found: await findDataKey(dependencies, recorded.kind === 'good' ? recorded.choice : undefined),
    ...defined({ namedItems }),
  })
  if (plan.kind === 'decide') return openNew(dependencies)
  const vault = await openChosen(plan.choice, dependencies)
  if (plan.isNew) {
    // The data key alone identifies this vault, so the choice may be written later.
    await record(plan.choice, vault, dependencies).catch((error: unknown) =>
      log.error({ error }, 'vault choice not written; will retry at the next start'),
    )
  }
  warnIfUnprotected(vault, dependencies)
  return vault
}

function warnIfUnprotected(vault: Vault, { log }: VaultDependencies): void {
  if (vault.describe().atRest !== 'not protected') return
  log.warn({ command: 'prefect-auth vault move --to passphrase' }, 'at rest: not protected')
}

function findDataKey({ stateDir }: VaultDependencies, choice?: VaultChoice) {
  return readDataKey(vaultDir(stateDir, choice), readPrivateFile)
}

/** Nothing may be stored in a vault that the next start would not find: while the disk fails, the choice waits. */
async function openNew(dependencies: VaultDependencies): Promise<Vault> {
  const attempt = async () => {
    // A data key that an attempt has made identifies the vault: it is not made twice.
    const found = await findDataKey(dependencies)
    const plan = planVault({ ...dependencies, recorded: undefined, found })
    const choice = plan.kind === 'open' ? plan.choice : await decide(dependencies)
    const vault = await openChosen(choice, dependencies)
    await record(choice, vault, dependencies)
    warnIfUnprotected(vault, dependencies)
    return vault
  }
  try {
    return await attempt()
  } catch (error) {
    if (!isBrokerError(error, 'disk_failed')) throw error
    dependencies.log.error({ error }, 'vault not created; will retry')
    return createWaitingVault(
      dependencies.settings.backend === 'keychain' ? 'keychain' : 'file',
      attempt,
      error,
    )
  }
}

async function record(
  choice: VaultChoice,
  vault: Vault,
  { stateDir, clock, log }: VaultDependencies,
): Promise<void> {
  await writeVaultChoice(stateDir, choice, clock.now())
  const { atRest, because } = vault.describe()
  log.info({ backend: choice.backend, at_rest: atRest, because }, 'vault chosen')
}

async function decide(dependencies: VaultDependencies): Promise<VaultChoice> {
  const { settings } = dependencies
  const store = randomUUID()
  if (settings.backend === 'file') return decideFile(store, "vault.backend = 'file'", dependencies)
  const because =
    settings.backend === 'auto' ? 'the OS keychain worked at the first start' : "vault.backend = 'keychain'"
  const choice: VaultChoice = { backend: 'keychain', store, because }
  const vault = await openChosen(choice, dependencies)
  try {
    await vault.prove()
    return choice
  } catch (error) {
    if (settings.backend === 'keychain' || !(error instanceof BrokerError)) throw error
    return decideFile(
      store,
      `the OS keychain did not work at the first start (${error.message})`,
      dependencies,
    )
  } finally {
    await vault.close()
  }
}

async function decideFile(
  store: string,
  reason: string,
  dependencies: VaultDependencies,
): Promise<VaultChoice> {
  const { wrap, why } = await chooseWrap(dependencies)
  return { backend: 'file', wrap, store, because: `${reason}; ${why}` }
}
