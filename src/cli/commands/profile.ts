/** `prefect-auth profile …`: lists and changes the profiles in profiles.toml. */
import type { Command } from 'commander'
import type { ProfileChange } from '../../client/client.js'
import { defined } from '../../std/defined.js'
import type { ProfileList, ProfileView } from '../../wire/profile.js'
import { readSecret } from '../ask.js'
import { usageError } from '../failure.js'
import { tellPrefectTrouble } from '../prefect-trouble.js'
import {
  type CommonOptions,
  common,
  type ListOptions,
  profileName,
  type Session,
  type Start,
  withJson,
  withNames,
} from '../session.js'
import { describeWorkspace, formatFacts, formatNames, formatTable, printable } from '../text.js'

interface ValueOptions extends CommonOptions {
  /** `false` for `--no-api-url`. */
  readonly apiUrl?: string | false
  readonly authStringStdin?: boolean
  readonly authString?: false | true
}

const AUTH_OPTION = '--auth-string-stdin < FILE'

export function addProfile(program: Command, start: Start): void {
  const profile = program.command('profile').description('list, choose and change profiles')
  addReading(profile, start)
  addWriting(profile, start)
  addNaming(profile, start)
}

function addReading(profile: Command, start: Start): void {
  withNames(withJson(profile.command('ls').alias('list')))
    .description('list all profiles; * marks the active one')
    .action((options: ListOptions) =>
      start('profile ls', options, async (session) => {
        const list = await session.client.profiles()
        const names = () => formatNames(list.profiles.map(({ name }) => name))
        session.answer(list, options.names === true ? names : () => describeProfiles(list, session.width))
      }),
    )
  common(profile.command('inspect [name]'))
    .description('show what the file says, what is in effect and why')
    .action((name: string | undefined, options: CommonOptions) =>
      start('profile inspect', options, async (session) => {
        const view = await session.client.profile(name ?? (await profileName(session)))
        session.answer(view, () => describeProfile(view))
      }),
    )
}

function addWriting(profile: Command, start: Start): void {
  withJson(profile.command('create <name>'))
    .description('add a profile')
    .option('--api-url <url>', 'its PREFECT_API_URL')
    .option('--auth-string-stdin', 'read PREFECT_API_AUTH_STRING (self-hosted servers) from stdin')
    .action((name: string, options: ValueOptions) =>
      start('profile create', options, async (session) => {
        const { api_url, auth_string } = await readValues(session, options)
        const body = {
          name,
          ...defined({ api_url: api_url || undefined, auth_string: auth_string || undefined }),
        }
        const view = await session.client.createProfile(body)
        done(session, view, `Profile ${name} created`)
        await tellServer(session, view)
      }),
    )
  withJson(profile.command('set <name>'))
    .description('change a profile')
    .option('--api-url <url>', 'its new PREFECT_API_URL')
    .option('--no-api-url', 'remove its PREFECT_API_URL')
    .option('--auth-string-stdin', 'read its new PREFECT_API_AUTH_STRING from stdin')
    .option('--no-auth-string', 'remove its PREFECT_API_AUTH_STRING')
    .action((name: string, options: ValueOptions) =>
      start('profile set', options, async (session) => {
        const change = await readValues(session, options)
        if (Object.keys(change).length === 0) nothingToChange()
        const view = await session.client.changeProfile(name, change)
        done(session, view, `Profile ${name} changed`)
        await tellServer(session, view)
      }),
    )
}

function addNaming(profile: Command, start: Start): void {
  withJson(profile.command('use <name>'))
    .description('make a profile the active one')
    .action((name: string, options: CommonOptions) =>
      start('profile use', options, async (session) => {
        const view = await session.client.useProfile(name)
        done(session, view, `Profile ${name} is now active`)
        await tellServer(session, view)
        const { PREFECT_PROFILE } = session.terminal.env
        if (!PREFECT_PROFILE || PREFECT_PROFILE === name) return
        session.say(`note: PREFECT_PROFILE=${printable(PREFECT_PROFILE)} in this shell takes precedence`)
      }),
    )
  withJson(profile.command('rename <name> <to>'))
    .description('rename a profile; its key moves with it')
    .action((name: string, to: string, options: CommonOptions) =>
      start('profile rename', options, async (session) => {
        done(session, await session.client.renameProfile(name, to), `Profile ${name} is now called ${to}`)
      }),
    )
  withJson(profile.command('delete <name>'))
    .description('delete a profile and the key we hold for it')
    .action((name: string, options: CommonOptions) =>
      start('profile delete', options, async (session) => {
        done(session, await session.client.deleteProfile(name), `Profile ${name} deleted`)
      }),
    )
}

function done(session: Session, wire: unknown, text: string): void {
  session.answer(wire, () => printable(text))
}

/** A typo in a URL is found when it is made, not when a job runs. */
async function tellServer(session: Session, { kind, name }: ProfileView): Promise<void> {
  if (kind === 'server') await tellPrefectTrouble(session, name)
}

async function readValues(session: Session, options: ValueOptions): Promise<ProfileChange> {
  const { apiUrl, authString, authStringStdin } = options
  const url = apiUrl === undefined ? {} : { api_url: apiUrl === false ? null : apiUrl }
  if (authString === false) return { ...url, auth_string: null }
  if (authStringStdin !== true) return url
  const hint = `prefect-auth profile set NAME ${AUTH_OPTION}`
  return { ...url, auth_string: await readSecret(session, { what: 'auth string', fromStdin: true, hint }) }
}

function nothingToChange(): never {
  const hint = `prefect-auth profile set NAME --api-url URL      (or: ${AUTH_OPTION})`
  throw usageError('no change was given', hint)
}

function describeProfiles({ profiles, file }: ProfileList, width: number | undefined): string {
  const table = formatTable(
    ['', 'PROFILE', 'KIND', 'KEY', 'WORKSPACE OR URL'],
    profiles.map((one) => [
      one.active ? '*' : ' ',
      one.name,
      one.kind,
      one.login_required ? 'login required' : secretPlace(one),
      one.workspace === undefined ? (one.api_url ?? '') : describeWorkspace(one.workspace),
    ]),
    { width, givesWay: ['KEY', 'KIND'] },
  )
  const problem =
    file.problem === undefined ? [] : ['', `! ${printable(file.path)}: ${printable(file.problem)}`]
  return [table, ...problem].join('\n')
}

function describeProfile(view: ProfileView): string {
  const lines = [
    `Profile ${printable(view.name)}${view.active ? ' (active)' : ''}`,
    '',
    formatFacts([
      ['because', printable(view.because)],
      ['source', view.source === 'bundled' ? 'built into Prefect' : 'profiles.toml'],
      ['kind', view.kind],
      ['api', view.api_url === undefined ? undefined : printable(view.api_url)],
      ['workspace', view.workspace === undefined ? undefined : describeWorkspace(view.workspace)],
      ['key', view.login_required ? 'none: login required' : placeOf(view.key)],
      ['auth string', placeOf(view.auth_string)],
    ]),
  ]
  const settings = Object.entries(view.settings)
  if (settings.length > 0) {
    lines.push(
      '',
      'In profiles.toml:',
      formatFacts(settings.map(([name, value]) => [printable(name), printable(value)])),
    )
  }
  for (const warning of view.warnings) lines.push(`! ${printable(warning)}`)
  return lines.join('\n')
}

function secretPlace({ key, auth_string }: ProfileView): string {
  return placeOf(key) ?? placeOf(auth_string) ?? ''
}

function placeOf(place: ProfileView['key']): string | undefined {
  switch (place) {
    case 'vault':
      return 'in the vault'
    case 'file':
      return 'plain text in the file'
    case 'none':
      return undefined
  }
}
