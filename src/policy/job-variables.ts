/** Refuses job variables by which a run would make its worker read a Secret block. Pure. */
import { BrokerError } from '../base/errors.js'
import { type BodyHeaders, readJson } from './body.js'

/** What takes job variables. A body of any other operation is not looked at. */
const OPERATIONS: ReadonlySet<string> = new Set([
  'POST /deployments/{id}/create_flow_run',
  'POST /deployments/{id}/create_flow_run/bulk',
  'POST /flow_runs/',
  'PATCH /flow_runs/{id}',
  'POST /deployments/',
  'PATCH /deployments/{id}',
])

/** `infra_overrides`: their name in old clients. */
const NAMES = ['job_variables', 'infra_overrides']

/** `operation` as the table has it. */
export function takesJobVariables(operation: string): boolean {
  return OPERATIONS.has(operation)
}

/**
 * A worker replaces `{{ prefect.blocks.secret.NAME }}` and `{"$ref": {"block_document_id": ID}}` in job variables by what is in
 * the block. Throws `bad_request` for these, and for a body that Prefect might read in another way than we do.
 */
export function refuseTemplates(body: Uint8Array, headers: BodyHeaders): void {
  const read = readJson(body, headers)
  if (read.kind === 'other') throw refused(read.why)
  // Of two members with one name Python takes the last, as we do.
  for (const { text, isName } of jobVariablesIn(read.value)) {
    if (text.includes('{{')) throw refused('they contain a template ({{ … }})')
    if (isName && text === '$ref') throw refused('they refer to a block ($ref)')
  }
}

interface Found {
  readonly text: string
  /** Of a member. */
  readonly isName: boolean
}

/** Every name and every text in job variables. Not recursive: a body may be nested more deeply than our stack. */
function* jobVariablesIn(body: object): Generator<Found> {
  const left: (readonly [value: unknown, isInside: boolean])[] = [[body, false]]
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const [value, isInside] = next
    if (typeof value === 'string' && isInside) yield { text: value, isName: false }
    if (typeof value !== 'object' || value === null) continue
    const isList = Array.isArray(value)
    for (const [name, member] of Object.entries(value)) {
      if (isInside && !isList) yield { text: name, isName: true }
      left.push([member, isInside || (!isList && NAMES.includes(name))])
    }
  }
}

function refused(why: string): BrokerError {
  return new BrokerError(
    'bad_request',
    `this token may not reach Secret blocks through job variables: ${why}`,
    { hint: 'write the values themselves into the job variables' },
  )
}
