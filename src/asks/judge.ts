/** Decides whether an answer may be the owner's: it must come from where the asker cannot be. */
import type { Peer, ProcessFacts } from '../os/peer.js'
import { cleanText } from '../std/text.js'
import { findOrigin, findWay, isInteractiveShell, isTrunk, type Origin, type Way } from './origin.js'

/** Why the answer does not count, with what to do; `undefined` if it does. A peer is `undefined` where the system tells nothing. */
export type Judge = (asker: Peer | undefined, answerer: Peer | undefined) => string | undefined

const ELSEWHERE =
  'answer from another login of yours (ssh or console), or with the button of the desktop notification'

/**
 * Nobody below an agent can get above it, become older than it is, or enter another login. So a yes counts if the answerer comes
 * through interactive shells alone from a login, or from a terminal that is older than what asks; and if what asks cannot come
 * from there.
 */
export const judge: Judge = (asker, answerer) => {
  const chain = answerer?.chain ?? []
  const [self] = chain
  if (self === undefined) return `nothing shows which process answers; ${ELSEWHERE}`
  return (
    findDisguise(chain) ??
    findKinship(asker?.chain ?? [], chain) ??
    comparePlaces(asker, chain, self, findWay(chain))
  )
}

/** What makes any answer worthless, whoever asks. */
function findDisguise(chain: Peer['chain']): string | undefined {
  const marked = chain.find(({ job }) => job !== undefined)
  if (marked !== undefined)
    return `this command runs inside a job of prefect-auth (PREFECT_AUTH_JOB is set in ${say(marked)}), and no job answers questions; ${ELSEWHERE}`
  const traced = chain.find(({ isTraced }) => isTraced)
  if (traced !== undefined) return `another program controls ${say(traced)}, as a debugger does; ${ELSEWHERE}`
  return undefined
}

function findKinship(asking: Peer['chain'], chain: Peer['chain']): string | undefined {
  const [self] = chain
  const [asker] = asking
  if (self === undefined || asker === undefined) return undefined
  const shared = chain.find((one) => isIn(asking, one) && !isTrunk(one, self.uid))
  if (shared !== undefined) {
    const how = isSame(shared, asker) ? 'asks itself' : 'also started the program that asks'
    return `the answer comes from below ${say(shared)}, which ${how}; ${ELSEWHERE}`
  }
  if (self.tty !== 0 && asking.some(({ tty }) => tty === self.tty))
    return `the program that asks uses this terminal too; ${ELSEWHERE}`
  return undefined
}

function comparePlaces(
  asker: Peer | undefined,
  chain: Peer['chain'],
  self: ProcessFacts,
  way: Way | undefined,
): string | undefined {
  if (way === undefined) return sayNoWay(chain, self)
  const origin = findOrigin(asker?.chain ?? [])
  if (way.kind === 'terminal') return judgeTerminal(way, origin)
  if (self.tty === 0) return `this command has no terminal; ${ELSEWHERE}`
  if (isSsh(chain) && way.shell.sshFrom !== 'elsewhere')
    return 'this ssh connection comes from this machine itself, where any program of yours can open one; answer from another machine, at the console, or with the button of the desktop notification'
  if (asker === undefined || origin === undefined) {
    const isNew = asker !== undefined && self.startedAt >= asker.seenAt
    return isNew
      ? undefined
      : 'nothing shows which program asks, so only a command that was started after the question counts; run: prefect-auth asks yes ID'
  }
  return isFromElsewhere(origin, way) ? undefined : sayLoose(origin, 'this login')
}

function judgeTerminal({ shell }: Way, origin: Origin | undefined): string | undefined {
  if (origin === undefined)
    return `nothing shows which program asks, and any program can open a terminal on the desktop; ${ELSEWHERE}`
  if (origin.way === undefined) return sayLoose(origin, 'this terminal')
  if (shell.startedAt < origin.root.startedAt) return undefined
  return `this terminal was opened after ${say(origin.root)} was started, which may have opened it; answer in a terminal that was open before, from a login over ssh or at the console, or with the button of the desktop notification`
}

/**
 * Whether what asks cannot have been started from the login. The age of what it is below says nothing: an old server, such as that
 * of tmux, starts programs for anybody.
 */
function isFromElsewhere({ self, way }: Origin, { shell }: Way): boolean {
  return way !== undefined || self.startedAt < shell.startedAt
}

function sayLoose({ root }: Origin, place: string): string {
  return `${say(root)}, which asks, is below no login and no terminal, so it may have been started from ${place}; log in again (ssh or console) and answer there, or use the button of the desktop notification`
}

/** Programs through which other programs type. */
const MULTIPLEXERS: ReadonlySet<string> = new Set(
  'SCREEN abduco dtach dvtm emacs mosh-server nvim screen script tmux vim zellij'.split(' '),
)

function sayNoWay(chain: Peer['chain'], self: ProcessFacts): string {
  const typed = chain.slice(1).find(({ name }) => MULTIPLEXERS.has(name))
  if (typed !== undefined)
    return `this command runs inside ${say(typed)}, and any program of yours can type there; answer outside of it, from another login of yours (ssh or console), or with the button of the desktop notification`
  const parent = chain[1]
  if (parent === undefined || isTrunk(parent, self.uid))
    return `no shell of yours started this command; ${ELSEWHERE}`
  const between = chain.slice(1).find((one) => !isTrunk(one, self.uid) && !isInteractiveShell(one))
  if (between === undefined) return `no login and no terminal of yours started this command; ${ELSEWHERE}`
  return `${say(between)} started this command, and nothing shows whether a person is using it; ${ELSEWHERE}`
}

const isSsh = (chain: Peer['chain']) =>
  chain.some(({ name }) => name.startsWith('sshd') || name === 'dropbear')

const isSame = (one: ProcessFacts, other: ProcessFacts) =>
  one.pid === other.pid && one.startedAt === other.startedAt

const isIn = (chain: Peer['chain'], one: ProcessFacts) => chain.some((other) => isSame(one, other))

const say = ({ name, pid }: ProcessFacts) => `${cleanText(name, 32)}[${pid}]`
