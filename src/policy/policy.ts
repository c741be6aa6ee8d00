/** Policies: what a token may do at Prefect, by the effects of operations, and how one request is ruled. Pure. */
import { defined } from '../std/defined.js'
import { lazy } from '../std/lazy.js'
import { EFFECTS, type Effect, POLICY_NAMES, type PolicyName } from '../wire/kinds.js'
import { changesOf } from './changes.js'
import { operationOf } from './ground.js'
import { findOperation, withoutWorkspace } from './matcher.js'
import { listOperations, SET_STATE } from './operations.js'

/** What the owner chose for a token. `allow` and `deny` name single operations: `METHOD /path/{template}`. */
export interface Policy {
  readonly may: PolicyName
  readonly allow?: readonly string[]
  /** Counts before `allow`. */
  readonly deny?: readonly string[]
  /** What changes something and is not included waits for a yes, and is not refused. Absent: it is refused. */
  readonly beyond?: 'asks'
}

export interface PolicyFacts {
  /** For people: what it allows. */
  readonly sentence: string
  readonly effects: readonly Effect[]
  /** Single operations that it allows as well. */
  readonly operations: readonly string[]
  /** Whether a Secret block may be sent in the clear. */
  readonly showsSecrets: boolean
}

/** How one request is ruled. */
export interface Ruling {
  readonly mayPass: boolean
  /** It may not pass by itself, but with a yes. */
  readonly needsYes?: true
  /** As the owner may write it into `--allow`; from the table, if the table has it. */
  readonly operation: string
  /** Absent: the operation is not in the table. */
  readonly effect?: Effect
  /** `include_secrets` must be false in what goes out. */
  readonly hidesSecrets: boolean
}

/** What flow runs need beyond bookkeeping: they save results in blocks and set variables. */
const BESIDE_BOOKKEEPING = [
  'POST /block_types/',
  'PATCH /block_types/{id}',
  'POST /block_schemas/',
  'POST /block_documents/',
  'POST /variables/',
  'PATCH /variables/name/{name}',
  'PATCH /variables/{id}',
]

export const POLICIES: Readonly<Record<PolicyName, PolicyFacts>> = {
  read: {
    sentence: 'reads everything in the workspace except the values of Secret blocks; changes nothing',
    effects: ['reads'],
    operations: [],
    showsSecrets: false,
  },
  run: {
    sentence: 'does what `read` does, and starts, resumes and cancels runs of deployments that exist',
    effects: ['reads', 'runs'],
    operations: [SET_STATE],
    showsSecrets: false,
  },
  work: {
    sentence:
      'does what workers and flow runs do: also reports progress, writes logs and artifacts, sets variables',
    effects: ['reads', 'runs', 'works'],
    operations: BESIDE_BOOKKEEPING,
    showsSecrets: true,
  },
  deploy: {
    sentence: 'does what `work` does, and creates and changes deployments and what they use',
    effects: ['reads', 'runs', 'works', 'deploys'],
    operations: [],
    showsSecrets: true,
  },
  all: {
    sentence: 'does everything except administer the workspace and its API keys',
    effects: EFFECTS,
    operations: [],
    showsSecrets: true,
  },
}

const effects = lazy(() => new Map<string, Effect>(listOperations()))

/** The effect of an operation, spelled as in the table; `undefined` if the table does not have it. */
export function effectOf(operation: string): Effect | undefined {
  return effects().get(operation)
}

/** `path` is what follows the API's base, as it was sent, and has passed the ground floor. Without a policy, everything passes. */
export function ruleOn(method: string, path: string, policy: Policy | undefined): Ruling {
  const { may, allow, deny, beyond } = policy ?? { may: 'all' }
  const { showsSecrets } = POLICIES[may]
  const operation = findOperation(method, path)
  if (operation === undefined) {
    const unknown = operationOf(method, withoutWorkspace(path))
    return { mayPass: may === 'all', operation: unknown, hidesSecrets: !showsSecrets }
  }
  const mayPass =
    !deny?.includes(operation) && (isAllowed(may, operation) || allow?.includes(operation) === true)
  const effect = effectOf(operation)
  const changes = changesOf({ method, operation, ...defined({ effect }) })
  const mayAsk = !mayPass && beyond === 'asks' && changes !== 'no' && !deny?.includes(operation)
  return {
    ...{ mayPass, operation, hidesSecrets: !showsSecrets },
    ...defined({ effect, needsYes: mayAsk ? (true as const) : undefined }),
  }
}

function isAllowed(may: PolicyName, operation: string): boolean {
  const { effects: allowed, operations } = POLICIES[may]
  const effect = effectOf(operation)
  return (effect !== undefined && allowed.includes(effect)) || operations.includes(operation)
}

/** A policy as people see it. */
export interface PolicyDescription {
  readonly name: PolicyName
  readonly sentence: string
  readonly effects: readonly Effect[]
  /** Everything in the table that it allows. `all` also allows what is not in the table. */
  readonly operations: readonly string[]
}

/** The policies, from narrow to wide. */
export function describePolicies(): readonly PolicyDescription[] {
  return POLICY_NAMES.map((name) => ({
    name,
    sentence: POLICIES[name].sentence,
    effects: POLICIES[name].effects,
    operations: listOperations()
      .map(([operation]) => operation)
      .filter((operation) => isAllowed(name, operation)),
  }))
}
