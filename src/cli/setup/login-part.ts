/** The key: moved out of `profiles.toml` into the vault, else a login. */
import { readFile } from 'node:fs/promises'
import { failureOf } from '../../client/failure.js'
import { resolvePaths } from '../../config/paths.js'
import { logIn } from '../commands/login.js'
import { scanToml } from '../fast/toml.js'
import { printable } from '../text.js'
import { inHome } from './files.js'
import { ifRunning, lookingClient } from './running-daemon.js'
import { noted, type PartPlan, type SetupContext } from './step.js'

export async function planAdoptPart({ session }: SetupContext): Promise<PartPlan> {
  const { terminal, client } = session
  const names = await profilesWithKeys(session)
  const file = printable(inHome(resolvePaths(terminal).profilesFile, terminal))
  if (names.length === 0) return noted(`adopt: no plain-text key of Prefect Cloud in ${file}`)
  const steps = names.map((name) => ({
    part: 'adopt' as const,
    says: [`move the plain-text key of profile ${printable(name)} out of ${file} into the vault`],
    files: [],
    run: async () => {
      try {
        return printable((await client.adopt(name)).message)
      } catch (error) {
        // Another program has moved it, or the file has it on purpose (`profiles.mirror`).
        if (failureOf(error)?.code !== 'profile_has_no_key') throw error
        return `profile ${printable(name)} has no plain-text key`
      }
    },
  }))
  return { steps, notes: [] }
}

/** As the daemon says; without one, as the file looks. */
async function profilesWithKeys({ terminal }: SetupContext['session']): Promise<readonly string[]> {
  const list = await ifRunning(lookingClient(terminal).profiles())
  if (list !== undefined)
    return list.profiles.flatMap(({ name, kind, key }) => (kind === 'cloud' && key === 'file' ? [name] : []))
  const text = await readFile(resolvePaths(terminal).profilesFile, 'utf8').catch(() => '')
  return [...scanToml(text)].flatMap(([path, value]) => {
    const [, name] = /^profiles\.(.+)\.PREFECT_API_KEY$/.exec(path) ?? []
    return name !== undefined && /^pn[ub]_/.test(value) ? [name] : []
  })
}

export async function planLoginPart({ session, isLookOnly }: SetupContext): Promise<PartPlan> {
  const { terminal, isInteractive, client } = session
  const isReady = await isLoggedIn(isLookOnly ? lookingClient(terminal) : client, session.profile)
  if (isReady === true) return noted('login: done')
  if (!isInteractive && !isLookOnly)
    return noted('login: not without a terminal; to log in: prefect-auth login --key-stdin < FILE')
  const step = {
    part: 'login' as const,
    says: ['log in to Prefect Cloud with the browser, if no key has been found by then'],
    files: [],
    async run() {
      if ((await isLoggedIn(client, session.profile)) === true) return 'there is a key already'
      await logIn(session, { browser: true })
      return 'logged in'
    },
  }
  return { steps: [step], notes: [] }
}

/** Whether the profile has what it needs; `undefined` if no daemon answers. A server of one's own needs no login. */
async function isLoggedIn(
  client: Pick<SetupContext['session']['client'], 'status'>,
  profile: string | undefined,
): Promise<boolean | undefined> {
  const status = await ifRunning(client.status())
  if (status === undefined) return undefined
  const found = status.profiles.find(({ name }) => name === (profile ?? status.active))
  return found !== undefined && (found.kind === 'server' || (found.ready && found.kind === 'cloud'))
}
