/** `prefect-auth workspace ls|set`: the workspaces that a key can access, and the one a profile uses. */
import type { Command } from 'commander'
import { failWith } from '../../client/failure.js'
import { defined } from '../../std/defined.js'
import { shellWord } from '../../std/text.js'
import { pickWorkspace, requirePerson } from '../ask.js'
import {
  type CommonOptions,
  common,
  type ListOptions,
  profileName,
  type Session,
  type Start,
  withNames,
} from '../session.js'
import { formatNames, formatTable, printable } from '../text.js'

interface SetOptions extends CommonOptions {
  readonly workspace?: string
}

interface CreateOptions extends CommonOptions {
  readonly name?: string
}

export function addWorkspace(program: Command, start: Start): void {
  const workspace = program.command('workspace').description('list and choose workspaces')
  withNames(common(workspace.command('ls').alias('list')))
    .description('list the workspaces that the key can access')
    .action((options: ListOptions) =>
      start('workspace ls', options, (session) => listWorkspaces(session, options.names === true)),
    )
  common(workspace.command('set [workspace]'))
    .description('choose the workspace by handle, id or page URL, or from a list')
    .option('-w, --workspace <handle/handle>', 'the same as the argument')
    .action((named: string | undefined, options: SetOptions) =>
      start('workspace set', options, (session) => setWorkspace(session, named ?? options.workspace)),
    )
  common(workspace.command('create <handle>'))
    .description("create a workspace, by handle or account/handle, using an account Admin's key")
    .option('--name <name>', 'what people read (default: the handle)')
    .action((handle: string, options: CreateOptions) =>
      start('workspace create', options, (session) => createWorkspace(session, handle, options.name)),
    )
}

async function listWorkspaces(session: Session, isNamesOnly: boolean): Promise<void> {
  const answer = await session.client.workspaces(await profileName(session))
  const names = () => formatNames(answer.workspaces.map(({ handle }) => handle))
  if (isNamesOnly) return session.answer(answer, names)
  session.answer(answer, () =>
    formatTable(
      ['', 'WORKSPACE', 'NAME', 'ID'],
      answer.workspaces.map((one) => [one.current ? '*' : ' ', one.handle, one.name ?? '', one.workspace_id]),
      { width: session.width, givesWay: ['NAME', 'ID'] },
    ),
  )
}

async function setWorkspace(session: Session, named: string | undefined): Promise<void> {
  const profile = await profileName(session)
  const answer = await session.client.setWorkspace(profile, named ?? (await choose(session, profile)))
  session.answer(answer, () => {
    return `Workspace ${printable(answer.workspace.handle)}, profile ${printable(answer.profile)}`
  })
}

async function createWorkspace(session: Session, text: string, name: string | undefined): Promise<void> {
  const [first = '', second] = text.split(/\/(.*)/s)
  const profile = await profileName(session)
  const wanted = second === undefined ? { handle: first } : { account: first, handle: second }
  const answer = await session.client.createWorkspace(profile, { ...wanted, ...defined({ name }) })
  session.answer(answer, () => `Workspace ${printable(answer.workspace.handle)} created`)
  const { handle } = answer.workspace
  session.say(`to use it: prefect-auth workspace set ${shellWord(handle)} --profile ${shellWord(profile)}`)
}

async function choose(session: Session, profile: string): Promise<string> {
  requirePerson(session, 'no workspace was given', 'prefect-auth workspace set HANDLE/HANDLE')
  const { workspaces } = await session.client.workspaces(profile)
  if (workspaces.length > 0) return (await pickWorkspace(session, workspaces)).workspace_id
  return failWith({ code: 'workspace_none', kind: 'conflict', detail: 'the key can access no workspace' })
}
