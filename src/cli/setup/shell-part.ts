/** The shell hook and the completion, as marked blocks in the files of the shell in use. */
import { existsSync } from 'node:fs'
import { printable } from '../text.js'
import { planBlock, planRemoval, renderBlock } from './block.js'
import {
  inHome,
  isLink,
  makeDirectoryOf,
  missingDirectories,
  type RecordKeeper,
  readBytes,
  removeFile,
  withDirectories,
  writeBytes,
} from './files.js'
import type { SetupRecord, WrittenBlock } from './record.js'
import { isLoadedIn, planShell, type ShellPart, shellInUse } from './shell.js'
import { noted, type PartPlan, type SetupContext } from './step.js'

export async function planShellPart(
  { session: { terminal }, record }: SetupContext,
  part: ShellPart,
): Promise<PartPlan> {
  const shell = shellInUse(terminal)
  if (shell === undefined) {
    const name = printable(terminal.env.SHELL || 'unknown')
    return noted(`${part}: your shell (SHELL: ${name}) is not bash, zsh or fish`)
  }
  const { path, lines } = planShell(shell, part, terminal, existsSync)
  const name = printable(inHome(path, terminal))
  const block = renderBlock(part, lines)
  const { found, known, plan } = await lookAtFile(record, { path, part, block })
  if (plan.kind === 'edited') return noted(`${part}: its block in ${name} was edited, and is left as it is`)
  if (plan.kind === 'there' && known !== undefined) return noted(`${part}: ${name} is up to date`)
  if (plan.kind === 'write' && known === undefined && isLoadedIn(found ?? '', shell, part))
    return noted(`${part}: ${name} loads it already`)
  const step = {
    part,
    says: [
      `add to ${name}${found === undefined ? ', a new file' : ''}:`,
      ...lines.map((line) => `  ${line}`),
    ],
    files: [{ path, text: block }],
    async run() {
      await putBlock(record, { path, part, block })
      return `added to ${name}; shells that are started from now on have it`
    },
  }
  return { steps: [step], notes: [] }
}

interface Wanted {
  readonly path: string
  readonly part: ShellPart
  readonly block: string
}

async function lookAtFile(record: RecordKeeper, { path, part, block }: Wanted) {
  const found = await readBytes(path)
  const known = blockIn(found ?? '', blocksOf(await record.read(), path, part))
  return { found, known, plan: planBlock(found ?? '', part, block, known?.inserted) }
}

/** Looks again: another part may have written the same file since. */
async function putBlock(record: RecordKeeper, { path, part, block }: Wanted): Promise<void> {
  const { found, known, plan } = await lookAtFile(record, { path, part, block })
  if (plan.kind === 'edited') return
  const inserted = plan.kind === 'write' ? plan.inserted : (known?.inserted ?? block)
  const isNew = known?.isNew ?? found === undefined
  const missing = await missingDirectories(path)
  const written = { path, part, inserted, isNew }
  // Before the file, and beside the block that it replaces: whichever is there after a crash is known.
  await record.change((now) => withDirectories({ ...now, blocks: [...now.blocks, written] }, missing))
  if (plan.kind !== 'there') {
    await makeDirectoryOf(path)
    await writeBytes(path, found, plan.text)
  }
  await record.change((now) => ({ ...now, blocks: [...without(now, path, part), written] }))
}

/** More than one if a replacement was interrupted. */
function blocksOf({ blocks }: SetupRecord, path: string, part: string): readonly WrittenBlock[] {
  return blocks.filter((one) => one.path === path && one.part === part)
}

/** The one that is in the file, else the latest. */
function blockIn(text: string, blocks: readonly WrittenBlock[]): WrittenBlock | undefined {
  return blocks.find(({ inserted }) => text.includes(inserted)) ?? blocks.at(-1)
}

function without({ blocks }: SetupRecord, path: string, part: string): readonly WrittenBlock[] {
  return blocks.filter((one) => one.path !== path || one.part !== part)
}

/** Takes one block out. Resolves with what became of it. Fails with `setup_write_failed`. */
export async function takeOutBlock(block: WrittenBlock, record: RecordKeeper, name: string): Promise<string> {
  const { path, part } = block
  const found = await readBytes(path)
  const { inserted, isNew } = blockIn(found ?? '', blocksOf(await record.read(), path, part)) ?? block
  const plan = planRemoval(found ?? '', part, inserted)
  if (found !== undefined && plan.kind === 'write') {
    if (plan.text === '' && isNew && !(await isLink(path))) await removeFile(path, found)
    else await writeBytes(path, found, plan.text)
  }
  await record.change((now) => ({ ...now, blocks: without(now, path, part) }))
  if (plan.kind === 'edited') return `the block in ${name} was edited, and is left: take it out by hand`
  return plan.kind === 'gone' ? `${name} has no block of ours` : `taken out of ${name}`
}
