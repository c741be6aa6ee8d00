/**
 * Moves a vault's items into another vault: every item is in one that opens, whenever the process dies. The journal is written
 * first; what counts is which vault `vault.json` names, and one rename changes that.
 */
import { rm, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { BrokerError } from '../base/errors.js'
import { syncDirectory, writeFileAtomic } from '../os/atomic-file.js'
import { readPrivateFile } from '../os/private-files.js'
import { diskFailed, ignoreMissing } from '../os/system-error.js'
import type { Log } from '../std/log.js'
import { choiceSchema, dirOf, readVaultChoice, type VaultChoice, writeVaultChoice } from './choice.js'
import { dataKeyPath } from './data-key.js'
import type { Vault } from './vault.js'

/** A move under way, or one whose old vault is not removed yet. No secrets. */
const journal = z.strictObject({
  version: z.literal(1),
  from: choiceSchema,
  to: choiceSchema,
  /** What the old vault may hold: a keychain lists nothing itself. */
  items: z.array(z.string()),
})
type MoveEntry = z.infer<typeof journal>

export interface MoveSteps {
  readonly stateDir: string
  readonly log: Log
  /** Opens the vault of a choice; a new one with this passphrase. */
  readonly open: (choice: VaultChoice) => Promise<Vault>
  /** Epoch ms. */
  readonly now: () => number
}

interface Moving {
  readonly from: VaultChoice
  readonly to: VaultChoice
  readonly source: Pick<Vault, 'get'>
  /** The new vault, opened and empty. */
  readonly openTarget: () => Promise<Vault>
  readonly items: readonly string[]
}

/**
 * Copies every item, reads each back, and makes the new vault the chosen one. Resolves with it and the number of items, once
 * that is durable; what the old one holds is then still there: `settleMove` removes it. Rejects as either vault does, with
 * `vault_unavailable` if the new one gives back something else, or `disk_failed`: the old vault is the chosen one then.
 */
export async function moveItems(
  steps: MoveSteps,
  { from, to, source, openTarget, items }: Moving,
): Promise<{ readonly vault: Vault; readonly count: number }> {
  const { stateDir, log, now } = steps
  // A keychain that does not work is found before there is anything to undo in it.
  let vault = to.backend === 'keychain' ? await openProved(openTarget) : undefined
  try {
    await writeJournal(stateDir, { version: 1, from, to, items: [...items] })
    log.info({ step: 'journalled' }, 'vault move')
    vault ??= await openProved(openTarget)
    log.info({ step: 'opened' }, 'vault move')
    const count = await copyItems({ from: source, to: vault, items, log })
    log.info({ step: 'copied' }, 'vault move')
    await writeVaultChoice(stateDir, to, now()).catch(async (error: unknown) => {
      // The rename may have happened although its directory could not be synced.
      if ((await chosenStore(stateDir)) !== to.store) throw error
      log.warn({ error }, 'vault move: the choice was written, but maybe not durably')
    })
    log.info({ step: 'committed' }, 'vault move')
    return { vault, count }
  } catch (error) {
    await vault?.close()
    await settleMove(steps).catch((cause: unknown) =>
      log.warn({ error: cause }, 'vault move not undone; will retry'),
    )
    throw error
  }
}

async function openProved(open: () => Promise<Vault>): Promise<Vault> {
  const vault = await open()
  try {
    await vault.prove()
    return vault
  } catch (error) {
    await vault.close()
    throw error
  }
}

async function copyItems({
  from,
  to,
  items,
  log,
}: {
  readonly from: Pick<Vault, 'get'>
  readonly to: Pick<Vault, 'get' | 'put'>
  readonly items: readonly string[]
  readonly log: Log
}): Promise<number> {
  let count = 0
  for (const item of items) {
    const value = await from.get(item)
    if (value === undefined) continue
    await to.put(item, value)
    const kept = await to.get(item)
    if (kept === undefined || !kept.equals(value)) {
      throw new BrokerError(
        'vault_unavailable',
        `cannot move the vault: the new one returned another value for '${item}'`,
        {
          hint: 'prefect-auth doctor',
        },
      )
    }
    count += 1
    log.debug({ step: 'item', item }, 'vault move')
  }
  return count
}

/**
 * Ends what a move has left: removes the old vault of one that was committed, the new one of one that was not. Does nothing
 * without a journal. Rejects as a keychain does, or with `disk_failed`; the journal stays then, for the next time.
 */
export async function settleMove(steps: MoveSteps): Promise<void> {
  const { stateDir, log } = steps
  const entry = await readJournal(stateDir)
  if (entry === undefined) return
  const store = await chosenStore(stateDir)
  const isCommitted = store === entry.to.store
  if (!isCommitted && store !== entry.from.store) {
    throw new BrokerError(
      'state_corrupt',
      `cannot end a move of the vault: ${journalPath(stateDir)} is about other vaults`,
      {
        hint: `restore vault.json, or remove ${journalPath(stateDir)}`,
      },
    )
  }
  if (isCommitted) {
    // It can be read before it is on the disk: a power cut then would bring back the choice of a vault that is gone.
    await syncDirectory(stateDir).catch((cause: unknown) => {
      throw diskFailed('write', join(stateDir, 'vault.json'), cause)
    })
  }
  await removeVault(steps, isCommitted ? entry.from : entry.to, entry.items)
  log.info({ step: 'removed' }, 'vault move')
  try {
    await unlink(journalPath(stateDir)).catch(ignoreMissing)
    await syncDirectory(stateDir)
  } catch (cause) {
    throw diskFailed('delete', journalPath(stateDir), cause)
  }
  log.info({ step: 'settled', is_moved: isCommitted }, 'vault move')
}

/** Whether a keychain is needed to end the move that is left: that may take long. */
export async function isKeychainLeft(stateDir: string): Promise<boolean> {
  const entry = await readJournal(stateDir)
  if (entry === undefined) return false
  const left = (await chosenStore(stateDir)) === entry.to.store ? entry.from : entry.to
  return left.backend === 'keychain'
}

async function removeVault(
  { stateDir, open }: MoveSteps,
  choice: VaultChoice,
  items: readonly string[],
): Promise<void> {
  if (choice.backend === 'file') {
    const dir = join(stateDir, dirOf(choice))
    try {
      // First of all: without it the rest is unreadable.
      await unlink(dataKeyPath(dir)).catch(ignoreMissing)
      await rm(dir, { recursive: true, force: true })
      await syncDirectory(stateDir)
    } catch (cause) {
      throw diskFailed('delete', dir, cause)
    }
    return
  }
  const vault = await open(choice)
  try {
    for (const item of items) await vault.delete(item)
  } finally {
    await vault.close()
  }
}

async function chosenStore(stateDir: string): Promise<string | undefined> {
  const recorded = await readVaultChoice(stateDir, readPrivateFile)
  return recorded.kind === 'good' ? recorded.choice.store : undefined
}

function journalPath(stateDir: string): string {
  return join(stateDir, 'vault-move.json')
}

async function readJournal(stateDir: string): Promise<MoveEntry | undefined> {
  const path = journalPath(stateDir)
  const content = await readPrivateFile(path)
  if (content === undefined) return undefined
  try {
    return journal.parse(JSON.parse(content.toString()))
  } catch (cause) {
    throw new BrokerError('state_corrupt', `cannot end a move of the vault: ${path} is damaged`, {
      hint: `the vault in use is not affected; remove ${path}`,
      cause,
    })
  }
}

async function writeJournal(stateDir: string, entry: MoveEntry): Promise<void> {
  const path = journalPath(stateDir)
  await writeFileAtomic(path, `${JSON.stringify(entry, undefined, 2)}\n`).catch((cause: unknown) => {
    throw diskFailed('write', path, cause)
  })
}
