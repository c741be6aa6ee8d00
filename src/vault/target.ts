/** What a vault is moved to: decided by the request, the settings and the machine. */
import { randomUUID } from 'node:crypto'
import { BrokerError } from '../base/errors.js'
import { readPrivateFile } from '../os/private-files.js'
import type { Secret } from '../std/secret.js'
import { newVaultDir, readVaultChoice, type VaultChoice, type VaultSettings } from './choice.js'
import type { KeyWrapKind } from './data-key.js'
import { type MoveSteps, moveItems } from './move.js'
import { chooseWrap, openChosen, passphraseOf, type VaultDependencies } from './open-chosen.js'
import { requireStrong } from './passphrase.js'
import type { MoveRequest, Vault } from './vault.js'

export function moveSteps(dependencies: VaultDependencies): MoveSteps {
  const { stateDir, log, clock } = dependencies
  return { stateDir, log, open: (choice) => openChosen(choice, dependencies), now: () => clock.now() }
}

interface MoveCall {
  readonly from: Vault
  readonly request: MoveRequest
  readonly items: readonly string[]
}

export async function moveTo(dependencies: VaultDependencies, { from, request, items }: MoveCall) {
  const { stateDir } = dependencies
  const recorded = await readVaultChoice(stateDir, readPrivateFile)
  if (recorded.kind !== 'good') throw notMovable('no vault has been chosen yet')
  const choice = recorded.choice
  const to = await decideTarget(dependencies, choice, request)
  const passphrase =
    to.backend === 'file' && to.wrap === 'passphrase' ? await newPassphrase(dependencies, request) : undefined
  const openTarget = async () => {
    const vault = await openChosen(to, dependencies)
    // The very first passphrase becomes the vault's.
    if (passphrase !== undefined) await vault.unlock(passphrase)
    return vault
  }
  return moveItems(moveSteps(dependencies), { from: choice, to, source: from, openTarget, items })
}

async function decideTarget(
  dependencies: VaultDependencies,
  from: VaultChoice,
  { to }: MoveRequest,
): Promise<VaultChoice> {
  const store = randomUUID()
  if (to === 'keychain') {
    if (from.backend === 'keychain') throw notMovable('it is in the OS keychain already')
    requireFreeSetting(dependencies.settings, { backend: 'keychain' })
    return { backend: 'keychain', store, because: "moved by 'prefect-auth vault move'" }
  }
  if (to === 'rekey' && from.backend === 'keychain')
    throw notMovable('the OS keychain has no data key of ours')
  const wrap =
    to === 'rekey' && from.backend === 'file'
      ? { wrap: from.wrap, why: 'as before' }
      : await wrapFor(dependencies, to)
  if (to !== 'rekey' && from.backend === 'file' && from.wrap === wrap.wrap)
    throw notMovable(`its data key is protected like that already (${wrap.wrap})`)
  requireFreeSetting(dependencies.settings, { backend: 'file', wrap: wrap.wrap })
  const verb = to === 'rekey' ? 'rekey' : 'move'
  return {
    backend: 'file',
    wrap: wrap.wrap,
    store,
    dir: newVaultDir(store),
    because: `made by 'prefect-auth vault ${verb}'; ${wrap.why}`,
  }
}

function wrapFor(dependencies: VaultDependencies, to: MoveRequest['to']) {
  const keyWrap = to === 'systemd-creds' || to === 'passphrase' || to === 'key-file' ? to : 'auto'
  return chooseWrap({ ...dependencies, settings: { ...dependencies.settings, keyWrap } })
}

/** The next start would refuse the vault. */
function requireFreeSetting(
  { backend, keyWrap = 'auto' }: VaultSettings,
  to: { readonly backend: 'keychain' | 'file'; readonly wrap?: KeyWrapKind },
): void {
  const name =
    backend !== 'auto' && backend !== to.backend
      ? 'vault.backend'
      : to.wrap !== undefined && keyWrap !== 'auto' && keyWrap !== to.wrap
        ? 'vault.key_wrap'
        : undefined
  if (name === undefined) return
  throw new BrokerError('setting_invalid', `cannot move the vault: ${name} names another one`, {
    hint: `unset ${name}, restart prefect-authd, and run it again`,
  })
}

/** Rejects with `passphrase_weak`, or `bad_request` if there is none, or two. */
async function newPassphrase(dependencies: VaultDependencies, { passphrase }: MoveRequest): Promise<Secret> {
  const found = await passphraseOf(dependencies)
  const used = passphrase ?? found
  if (used === undefined)
    throw new BrokerError('bad_request', 'the new vault needs a passphrase, and none was given')
  if (found !== undefined && !found.equals(used)) {
    throw new BrokerError(
      'bad_request',
      'the passphrase is not the one in vault.passphrase_file, or in the systemd credential',
      {
        hint: 'write the new one there first',
      },
    )
  }
  requireStrong(used)
  return used
}

function notMovable(why: string): BrokerError {
  return new BrokerError('vault_not_movable', `cannot move the vault: ${why}`, {
    hint: 'prefect-auth vault status',
  })
}
