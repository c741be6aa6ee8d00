/** While agents run: whether who uses the owner's socket is outside of all of them. */
import type { Socket } from 'node:net'
import { BrokerError } from '../base/errors.js'
import type { FindPeer } from '../os/peer-finder.js'
import { cleanText } from '../std/text.js'
import type { Caller } from '../tokens/access.js'
import { findInside } from '../tokens/agents.js'
import type { Tokens } from '../tokens/tokens.js'

/** What the caller is refused, with the agent that it belongs to. */
interface Refused {
  readonly error: BrokerError
  readonly inside?: Caller['inside']
}

/**
 * Looks where a program that shows no token comes from. Returns `undefined` at once if no agent runs, which costs nothing;
 * resolves with `undefined` for a program outside of all agents. Never rejects.
 */
export type LookOutside = (socket: Socket) => Promise<Refused | undefined> | undefined

export function createLookOutside({
  findPeer,
  tokens,
}: {
  readonly findPeer: FindPeer
  readonly tokens: Pick<Tokens, 'agents'>
}): LookOutside {
  const look = async (socket: Socket): Promise<Refused | undefined> => {
    const first = await findPeer(socket).catch(() => undefined)
    // On a busy machine a look may have come too late; who hides is not seen the second time, either.
    const peer = first?.chain.length ? first : await findPeer(socket).catch(() => undefined)
    const chain = peer?.chain ?? []
    // An agent could hide: the programs of all others can be told, or none of these agents would be watched.
    if (chain.length === 0) return { error: unseen(peer?.shown ?? 'unknown') }
    const agents = tokens.agents()
    const found = findInside(chain, agents)
    if (found === undefined) return undefined
    const name = agents.find(({ id }) => id === found.id)?.name ?? 'an agent that has ended'
    return { error: insideAgent(name, found.why), inside: { id: found.id, name } }
  }
  return (socket) => (tokens.agents().length === 0 ? undefined : look(socket))
}

function insideAgent(name: string, why: string): BrokerError {
  return new BrokerError(
    'agent_refused',
    `this program runs inside the agent '${cleanText(name, 60)}' (${why}), and the owner's socket gives an agent neither credentials nor administration`,
    { hint: 'use the variables that the agent was started with, or run this outside of it' },
  )
}

function unseen(shown: string): BrokerError {
  return new BrokerError(
    'agent_refused',
    `an agent runs, and nothing shows whether this program belongs to it: ${cleanText(shown, 100)}`,
    {
      hint: 'prefect-auth token ls      (lists the agents; from a program that keeps its connection until it is answered)',
    },
  )
}
