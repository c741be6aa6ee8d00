/** A request as a sentence: `start deployment Testing/nightly in prefect/production`. Pure. */
import { isObject } from '../policy/changes.js'
import { decode } from '../prefect/proxied.js'
import { plainText } from '../std/text.js'

/** What has a name that Prefect can be asked for: `GET /{noun}/{id}`. */
export type Noun =
  | 'deployments'
  | 'flows'
  | 'flow_runs'
  | 'task_runs'
  | 'variables'
  | 'block_documents'
  | 'block_types'
  | 'automations'
  | 'work_queues'
  | 'concurrency_limits'

/** What a sentence is made of. */
export interface Spoken {
  /** `METHOD /path/{template}` */
  readonly operation: string
  readonly method: string
  /** Below the workspace, as it was sent, without a query. */
  readonly path: string
  /** The body as JSON; absent if it is no object, or is not JSON as everybody reads it. */
  readonly body?: Readonly<Record<string, unknown>>
  /** The workspace, or the profile. */
  readonly place: string
}

/** Returns the name that Prefect has for the object, ready to be put into a sentence; `undefined` if it is not known. */
export type NameOf = (noun: Noun, id: string) => string | undefined

/** Words are the request's own, or Prefect's by `nameOf`; nothing in them can pass for a part of the sentence. */
export function sentenceOf(spoken: Spoken, nameOf: NameOf): string {
  const say = SENTENCES[normal(spoken.operation)]
  const said = say?.(createReader(spoken, nameOf)) ?? `${spoken.method} ${plainText(spoken.path, 200)}`
  return `${said} in ${spoken.place}${spoken.body === undefined ? ', with a body that is no JSON object' : ''}`
}

/** The names that the sentence needs. */
export function namesIn(spoken: Spoken): readonly (readonly [noun: Noun, id: string])[] {
  const needed: (readonly [Noun, string])[] = []
  sentenceOf(spoken, (noun, id) => {
    if (isId(id)) needed.push([noun, id])
    return undefined
  })
  return needed
}

/** Nothing else is put into the path of a request of our own. */
export function isId(text: string): boolean {
  return /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)
}

/** What sentences say of a body. */
const FIELDS = ['name', 'tag', 'flow_id', 'block_type_id', 'work_pool_name'] as const
const OF_STATE = ['name', 'type'] as const
type Field = (typeof FIELDS)[number] | `state.${(typeof OF_STATE)[number]}`

/** The same sentence, from as much of the body as it needs: the rest may be megabytes. */
export function briefly({ body, ...rest }: Spoken): Spoken {
  if (body === undefined) return rest
  const { state } = body
  return {
    ...rest,
    body: { ...pick(body, FIELDS), ...(isObject(state) && { state: pick(state, OF_STATE) }) },
  }
}

const MOST_CHARACTERS = 500

function pick(from: Readonly<Record<string, unknown>>, names: readonly string[]): Record<string, string> {
  // Copied, since a slice would keep the whole text in memory.
  const texts = names.map((name) => [name, [...textIn(from, name).slice(0, MOST_CHARACTERS)].join('')])
  return Object.fromEntries(texts)
}

/** What a sentence may say of a request. */
interface Reader {
  /** What has the id that is the second part of the path. */
  its(noun: Noun): string
  /** A part of the path that is a name; the first is 0. */
  part(at: number): string
  /** The first of these texts of the body that there is; `a.b` is in the object `a`. */
  field(...names: readonly Field[]): string
  /** What has the id that is in this field of the body. */
  of(name: Field, noun: Noun): string
}

function createReader({ path, body = {} }: Spoken, nameOf: NameOf): Reader {
  const parts = path.split('/').slice(1)
  const name = (noun: Noun, id: string) => nameOf(noun, id) ?? quoted(id)
  return {
    its: (noun) => name(noun, parts[1] ?? ''),
    part: (at) => quoted(decode(parts[at] ?? '') ?? parts[at] ?? ''),
    field: (...names) => quoted(names.map((each) => textIn(body, each)).find((text) => text !== '') ?? ''),
    of: (field, noun) => name(noun, textIn(body, field)),
  }
}

function textIn(body: Readonly<Record<string, unknown>>, name: string): string {
  let value: unknown = body
  for (const key of name.split('.')) value = isObject(value) ? value[key] : undefined
  return typeof value === 'string' || typeof value === 'number' ? String(value) : ''
}

/** A name as a part of a sentence: in quotation marks unless it is one word. */
export function quoted(name: string): string {
  const plain = plainText(name, 80)
  return /^[\p{L}\p{N}_.@:+-]+$/u.test(plain) ? plain : `'${plain.replaceAll("'", '’')}'`
}

const NOTHING = quoted('')

/** Parameters have one name here, whatever Prefect calls them. */
function normal(operation: string): string {
  return operation.replace(/\{\w+\}/g, '{}').replace(/(?<=.)\/$/, '')
}

type Say = (request: Reader) => string

function inPool(request: Reader): string {
  const pool = request.field('work_pool_name')
  return pool === NOTHING ? '' : ` in work pool ${pool}`
}

/** Creating by name, and changing and deleting by id, as most nouns do. */
function crud(noun: Noun, word: string): Readonly<Record<string, Say>> {
  return {
    [`POST /${noun}`]: (r) => `create ${word} ${r.field('name')}`,
    [`PUT /${noun}/{}`]: (r) => `replace ${word} ${r.its(noun)}`,
    [`PATCH /${noun}/{}`]: (r) => `change ${word} ${r.its(noun)}`,
    [`DELETE /${noun}/{}`]: (r) => `delete ${word} ${r.its(noun)}`,
  }
}

/** By `METHOD /path/{}`. What is not here is shown as its method and path. */
const SENTENCES: Readonly<Record<string, Say>> = {
  ...crud('flows', 'flow'),
  ...crud('flow_runs', 'flow run'),
  ...crud('task_runs', 'task run'),
  ...crud('deployments', 'deployment'),
  ...crud('variables', 'variable'),
  ...crud('block_documents', 'block'),
  ...crud('block_types', 'block type'),
  ...crud('automations', 'automation'),
  ...crud('work_queues', 'work queue'),
  'POST /deployments': (r) => `create or change deployment ${r.of('flow_id', 'flows')}/${r.field('name')}`,
  'POST /deployments/{}/create_flow_run': (r) => `start deployment ${r.its('deployments')}`,
  'POST /deployments/{}/schedule': (r) => `schedule runs of deployment ${r.its('deployments')}`,
  'POST /deployments/{}/pause_deployment': (r) => `pause deployment ${r.its('deployments')}`,
  'POST /deployments/{}/resume_deployment': (r) => `resume deployment ${r.its('deployments')}`,
  'POST /deployments/{}/set_schedule_active': (r) =>
    `resume the schedule of deployment ${r.its('deployments')}`,
  'POST /deployments/{}/set_schedule_inactive': (r) =>
    `pause the schedule of deployment ${r.its('deployments')}`,
  'POST /deployments/{}/schedules': (r) => `add a schedule to deployment ${r.its('deployments')}`,
  'PATCH /deployments/{}/schedules/{}': (r) => `change a schedule of deployment ${r.its('deployments')}`,
  'DELETE /deployments/{}/schedules/{}': (r) => `delete a schedule of deployment ${r.its('deployments')}`,
  'POST /flow_runs': (r) => `start a run of flow ${r.of('flow_id', 'flows')}${inPool(r)}`,
  'POST /flow_runs/{}/set_state': (r) =>
    r.field('state.type') === 'CANCELLING'
      ? `cancel flow run ${r.its('flow_runs')}`
      : `set flow run ${r.its('flow_runs')} to ${r.field('state.name', 'state.type')}`,
  'POST /flow_runs/{}/resume': (r) => `resume flow run ${r.its('flow_runs')}`,
  'POST /task_runs/{}/set_state': (r) => `set task run ${r.its('task_runs')} to ${r.field('state.type')}`,
  'POST /variables': (r) => `create variable ${r.field('name')}`,
  'PATCH /variables/name/{}': (r) => `set variable ${r.part(2)}`,
  'DELETE /variables/name/{}': (r) => `delete variable ${r.part(2)}`,
  'POST /block_documents': (r) => `create ${r.of('block_type_id', 'block_types')} block ${r.field('name')}`,
  'POST /work_pools': (r) => `create work pool ${r.field('name')}`,
  'PATCH /work_pools/{}': (r) => `change work pool ${r.part(1)}`,
  'DELETE /work_pools/{}': (r) => `delete work pool ${r.part(1)}`,
  'POST /work_pools/{}/queues': (r) => `create queue ${r.field('name')} of work pool ${r.part(1)}`,
  'PATCH /work_pools/{}/queues/{}': (r) => `change queue ${r.part(3)} of work pool ${r.part(1)}`,
  'DELETE /work_pools/{}/queues/{}': (r) => `delete queue ${r.part(3)} of work pool ${r.part(1)}`,
  'POST /concurrency_limits': (r) => `set the concurrency limit of tag ${r.field('tag')}`,
  'DELETE /concurrency_limits/{}': (r) => `delete concurrency limit ${r.its('concurrency_limits')}`,
  'DELETE /concurrency_limits/tag/{}': (r) => `delete the concurrency limit of tag ${r.part(2)}`,
  'POST /concurrency_limits/tag/{}/reset': (r) => `reset the concurrency limit of tag ${r.part(2)}`,
  'POST /v2/concurrency_limits': (r) => `create concurrency limit ${r.field('name')}`,
  'PATCH /v2/concurrency_limits/{}': (r) => `change concurrency limit ${r.part(2)}`,
  'DELETE /v2/concurrency_limits/{}': (r) => `delete concurrency limit ${r.part(2)}`,
  'DELETE /artifacts/{}': (r) => `delete artifact ${r.part(1)}`,
  'PATCH /automations/{}': (r) => `pause or resume automation ${r.its('automations')}`,
}
