/** Processes as the kernel shows them: one at the end of a connection, with all its ancestors (Linux). */
import { readFile, readlink, stat } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { basename, dirname } from 'node:path'
import { z } from 'zod'
import { cleanText } from '../std/text.js'
import { JOB_MARK } from '../wire/env-names.js'

const processFacts = z.object({
  pid: z.int(),
  /** Clock ticks between the boot and its start: with the pid, its identity. */
  startedAt: z.number(),
  parent: z.int(),
  /** File name of its program; the name that it gave itself if the system does not tell, as for processes of root. */
  name: z.string(),
  uid: z.int(),
  /** The controlling terminal; 0 for none. */
  tty: z.int(),
  /** Its control group. */
  group: z.string(),
  /** Only root can change its program file. */
  isSystemProgram: z.boolean(),
  /** File name of the first argument, if that is the path of a file that only root can change. */
  systemScript: z.string().optional(),
  /** It was started without a command or script to run. */
  hasPlainArguments: z.boolean(),
  /** Another process controls it, as a debugger does. */
  isTraced: z.boolean(),
  /** The token of the job that it was started in, by its environment. */
  job: z.string().optional(),
  /** Where the ssh connection comes from that it was started in, by its environment. */
  sshFrom: z.enum(['here', 'elsewhere']).optional(),
})

export type ProcessFacts = z.infer<typeof processFacts>

export const peerSchema = z.object({
  /** When this was seen, in clock ticks since the boot. */
  seenAt: z.number(),
  /** The process, its parent, and so on up to process 1. Empty: the system does not tell which process it is. */
  chain: z.array(processFacts).readonly(),
  /** For people: `curl[4711] < bash[4700] < sshd[812]`. */
  shown: z.string(),
})

/** A snapshot. All of `chain` existed at one moment, in this relation. */
export type Peer = z.infer<typeof peerSchema>

/** Far more than any real chain. */
const MAX_CHAIN = 128
const ATTEMPTS = 3
/** Linux tells times to programs in these on every machine of today. */
const TICKS_PER_SECOND = 100

/** Clock ticks since the boot. */
export async function readTicks(): Promise<number> {
  const [seconds = ''] = (await readFile('/proc/uptime', 'utf8')).split(' ')
  return Math.floor(Number(seconds) * TICKS_PER_SECOND)
}

/** The process and its ancestors; an empty chain if it has ended, or changed during every look. Never rejects. */
export async function readPeer(pid: number): Promise<Peer> {
  const seenAt = await readTicks().catch(() => 0)
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const chain = await readChain(pid).catch(() => undefined)
    if (chain !== undefined) return { seenAt, chain, shown: show(chain) }
  }
  return { seenAt, chain: [], shown: `a program that has ended[${pid}]` }
}

/** One of whom the system tells no process. Never rejects. */
export async function unknownPeer(shown: string): Promise<Peer> {
  return { seenAt: await readTicks().catch(() => 0), chain: [], shown }
}

/** Whether this is still the process that it was. Never rejects. */
export async function isAlive({ pid, startedAt }: ProcessFacts): Promise<boolean> {
  const now = await readStat(pid).catch(() => undefined)
  return now?.startedAt === startedAt
}

const SHOWN = 5

function show(chain: Peer['chain']): string {
  return chain
    .filter(({ pid }) => pid > 1)
    .slice(0, SHOWN)
    .map(({ name, pid }) => `${cleanText(name, 32)}[${pid}]`)
    .join(' < ')
}

async function readChain(pid: number): Promise<readonly ProcessFacts[] | undefined> {
  const chain: ProcessFacts[] = []
  for (let at = pid; at > 0; at = chain.at(-1)?.parent ?? 0) {
    if (chain.length === MAX_CHAIN) return undefined
    chain.push(await readProcess(at))
  }
  // Parents end while we look, and their numbers are given to others.
  for (const [index, { pid, startedAt, parent }] of chain.entries()) {
    const now = await readStat(pid)
    const isYounger = startedAt < (chain[index + 1]?.startedAt ?? 0)
    if (now.startedAt !== startedAt || now.parent !== parent || isYounger) return undefined
  }
  return chain
}

async function readProcess(pid: number): Promise<ProcessFacts> {
  const [{ comm, ...facts }, status, group, exe, args, environ] = await Promise.all([
    readStat(pid),
    readFile(`/proc/${pid}/status`, 'utf8'),
    readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => ''),
    readlink(`/proc/${pid}/exe`).catch(() => undefined),
    readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''),
    readFile(`/proc/${pid}/environ`, 'utf8').catch(() => ''),
  ])
  // The program was replaced by an update.
  const file = exe?.replace(/ \(deleted\)$/, '')
  const words = args.split('\0').slice(1, -1)
  const script = words[0]
  const variables = environ.split('\0')
  const job = variable(variables, JOB_MARK)
  const ssh = variable(variables, 'SSH_CONNECTION')
  return {
    pid,
    ...facts,
    name: file === undefined ? comm : basename(file),
    uid: Number(/^Uid:\s+(\d+)/m.exec(status)?.[1] ?? -1),
    group: groupOf(group),
    isSystemProgram: file !== undefined && (await isOfSystem(file)),
    hasPlainArguments: words.every((word) => PLAIN.has(word)),
    isTraced: !/^TracerPid:\s+0$/m.test(status),
    ...(script?.startsWith('/') === true && (await isOfSystem(script))
      ? { systemScript: basename(script) }
      : {}),
    ...(job === undefined ? {} : { job }),
    ...(ssh === undefined ? {} : { sshFrom: isLocal(ssh) ? ('here' as const) : ('elsewhere' as const) }),
  }
}

const PLAIN: ReadonlySet<string> = new Set(['-', '-l', '-i', '-il', '-li', '--login', '--interactive'])

/** "pid (name) state ppid pgrp session tty …": the name may hold anything, brackets too; the start is field 22. */
async function readStat(
  pid: number,
): Promise<Pick<ProcessFacts, 'startedAt' | 'parent' | 'tty'> & { readonly comm: string }> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8')
  const end = text.lastIndexOf(')')
  const fields = text.slice(end + 2).split(' ')
  return {
    comm: text.slice(text.indexOf('(') + 1, end),
    parent: Number(fields[1]),
    tty: Number(fields[4]),
    startedAt: Number(fields[19]),
  }
}

/** Of the hierarchy that systemd uses: "0::/path", or "n:name=systemd:/path" beside old ones. */
function groupOf(text: string): string {
  const paths = text.split('\n').flatMap((line) => /^\d+:(?:name=systemd)?:(.*)$/.exec(line)?.[1] ?? [])
  return paths.find((path) => path !== '/') ?? '/'
}

function variable(variables: readonly string[], name: string): string | undefined {
  return variables.find((one) => one.startsWith(`${name}=`))?.slice(name.length + 1)
}

/** A link in a directory of ours to a file of root would have a name of our choice. */
async function isOfSystem(file: string): Promise<boolean> {
  const found = await Promise.all([file, dirname(file)].map((path) => stat(path).catch(() => undefined)))
  return found.every((stats) => stats?.uid === 0 && (stats.mode & 0o022) === 0)
}

/** "client port server port". */
function isLocal(connection: string): boolean {
  const [client = '', , server = ''] = connection.split(' ')
  const plain = (address: string) => address.replace(/^::ffff:/, '').replace(/%.*$/, '')
  const own = Object.values(networkInterfaces()).flatMap((all) => all?.map(({ address }) => address) ?? [])
  return (
    client === '' ||
    /^(127\.|::1$)/.test(plain(client)) ||
    plain(client) === plain(server) ||
    own.some((address) => plain(address) === plain(client))
  )
}
