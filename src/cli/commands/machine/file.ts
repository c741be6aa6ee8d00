/** `prefect-auth file …`: files that the daemon keeps up to date, for tools that read only files. */
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { failWith } from '../../../client/failure.js'
import { findPlaceProblem } from '../../../os/kept-file.js'
import { defined } from '../../../std/defined.js'
import type { AddFileBody, FileContent, FileView, FileViews } from '../../../wire/files.js'
import { FILE_CONTENTS } from '../../../wire/kinds.js'
import { usageError } from '../../failure.js'
import { closeFolders, openFolderOf } from '../../service/kept-folders.js'
import {
  type CommonOptions,
  common,
  type ListOptions,
  type Session,
  type Start,
  withJson,
  withNames,
} from '../../session.js'
import { formatNames, formatTable, printable } from '../../text.js'

interface AddOptions extends CommonOptions {
  readonly what: FileContent
  readonly replace?: boolean
}

export function addFile(program: Command, start: Start): void {
  const file = program
    .command('file')
    .description('keep files with the key up to date, for tools that read only files')
  common(file.command('add <path>'))
    .description('write a file (0600) now and after each renewal; it is removed at a log-out')
    .addOption(
      new Option('--what <what>', 'key: the key alone; env: NAME=value; toml: a profiles.toml of its own')
        .choices(FILE_CONTENTS)
        .makeOptionMandatory(),
    )
    .option('--replace', 'overwrite a file that is there')
    .action((path: string, options: AddOptions) =>
      start('file add', options, (session) => add(session, path, options)),
    )
  withNames(withJson(file.command('ls')))
    .description('list the files, and whether each is up to date')
    .action((options: ListOptions) =>
      start('file ls', options, async (session) => {
        const list = await session.client.files()
        if (options.names === true)
          return session.answer(list, () => formatNames(list.files.map(({ path }) => path)))
        session.answer(list, () => (list.files.length === 0 ? 'No files' : describe(list, session.width)))
      }),
    )
  withJson(file.command('rm <path>'))
    .description('keep the file no longer, and remove it')
    .action((path: string, options: CommonOptions) =>
      start('file rm', options, async (session) => {
        const answer = await session.client.removeFile(absolute(session, path))
        await closeFolders(session)
        const name = printable(answer.path)
        session.answer(answer, () =>
          answer.removed
            ? `Removed ${name}`
            : `${name} is not as we wrote it, or is gone; it is left, and kept no longer`,
        )
      }),
    )
}

const SAID = {
  current: 'is kept up to date',
  absent: 'is listed, and will be written',
  problem: 'is listed, but not written yet',
} as const

async function add(session: Session, path: string, { what, replace }: AddOptions): Promise<number> {
  const { profile } = session
  const whole = absolute(session, path)
  // The daemon may be in a sandbox that hides whose directories these are.
  const problem = await findPlaceProblem(whole)
  if (problem !== undefined) failWith({ code: 'file_path_unsafe', kind: 'conflict', ...problem })
  const view = await addOpening(session, { path: whole, what, ...defined({ profile, replace }) })
  const name = printable(view.path)
  session.answer(view, () => `${name} ${SAID[view.state]}`)
  if (view.state === 'absent') session.say('There is no file until somebody logs in: prefect-auth login')
  if (view.problem !== undefined)
    session.say(`${printable(view.problem)}\ntry: ${printable(view.hint ?? 'prefect-auth doctor')}`)
  return view.state === 'problem' ? 1 : 0
}

/** Where the service's sandbox is in the way it is opened; a file that cannot be kept even so is not left in the list. */
async function addOpening(session: Session, body: AddFileBody): Promise<FileView> {
  const { client } = session
  const before = await client.files()
  const view = await client.addFile(body)
  if (view.code !== 'file_path_read_only') return view
  try {
    return (await openFolderOf(view, session)) ? await client.addFile(body) : view
  } catch (error) {
    if (!before.files.some(({ path }) => path === view.path)) await client.removeFile(view.path)
    throw error
  }
}

function absolute({ terminal }: Session, path: string): string {
  if (terminal.folder !== undefined || path.startsWith('/')) return resolve(terminal.folder ?? '/', path)
  throw usageError('this directory has been removed; name the file by its absolute path')
}

function describe({ files }: FileViews, width: number | undefined): string {
  return formatTable(
    ['PATH', 'WHAT', 'PROFILE', 'STATE'],
    files.map(({ path, what, profile, state, problem }) => [
      path,
      what,
      profile ?? 'the active one',
      problem === undefined ? state : `${state}: ${problem}`,
    ]),
    { width, givesWay: ['STATE'] },
  )
}
