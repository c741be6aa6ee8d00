/** Names of what a request is about, as Prefect tells them: never what the client claims. */
import { isObject } from '../policy/changes.js'
import type { Visit } from '../proxy/admission.js'
import type { ReadUpstream } from '../proxy/upstream-read.js'
import { isId, type NameOf, type Noun, quoted } from './sentence.js'

/** Nobody reads a sentence with more names than these. */
const MOST = 4

/**
 * Resolves when all are found, or cannot be. `root`: the part of the path before the nouns. Never rejects.
 */
export async function findNames(
  read: ReadUpstream,
  visit: Visit,
  root: string,
  wanted: readonly (readonly [noun: Noun, id: string])[],
): Promise<NameOf> {
  const look = async (noun: Noun, id: string) => nameIn(noun, await read(visit, `${root}/${noun}/${id}`))
  const nameIn = async (noun: Noun, found: unknown): Promise<string | undefined> => {
    if (!isObject(found)) return undefined
    const { name, tag, flow_id: flowId } = found
    const own = textOf(name) ?? textOf(tag)
    if (noun !== 'deployments' || own === undefined) return own
    const flow = typeof flowId === 'string' && isId(flowId) ? await look('flows', flowId) : undefined
    return flow === undefined ? own : `${flow}/${own}`
  }
  const names = await Promise.all(
    wanted
      .slice(0, MOST)
      .map(async ([noun, id]) => [`${noun}/${id}`, await look(noun, id).catch(() => undefined)] as const),
  )
  const known = new Map(names)
  return (noun, id) => known.get(`${noun}/${id}`)
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? quoted(value) : undefined
}
