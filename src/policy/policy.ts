/** Policies: what a token may do at Prefect, by the effects of operations, and how one request is ruled. Pure. */
import { EFFECTS, type Effect, type PolicyName } from '../wire/kinds.js'
import { operationOf } from './ground.js'
import { OPERATIONS } from './operations.js'

/** What the owner chose for a token. `allow` and `deny` name single operations: `METHOD /path/{template}`. */
export interface Policy {
  readonly may: PolicyName
  readonly allow?: readonly string[]
  /** Counts before `allow`. */
  readonly deny?: readonly string[]
}

export interface PolicyFacts {
  /** For people: what it allows. */
  readonly sentence: string
  readonly effects: readonly Effect[]
  /** Whether a Secret block may be sent in the clear. */
  readonly showsSecrets: boolean
}

/** How one request is ruled. */
export interface Ruling {
  readonly mayPass: boolean
  /** As the owner may write it into `--allow`; from the table, if the table has it. */
  readonly operation: string
  /** Absent: the operation is not in the table. */
  readonly effect?: Effect
  /** `include_secrets` must be false in what goes out. */
  readonly hidesSecrets: boolean
}

export const POLICIES: Readonly<Record<PolicyName, PolicyFacts>> = {
  read: {
    sentence:
      'reads everything in the workspace, changes nothing, and never sees a Secret block in the clear',
    effects: ['reads'],
    showsSecrets: false,
  },
  run: {
    sentence: 'reads, and starts and cancels runs of deployments that exist',
    effects: ['reads', 'runs'],
    showsSecrets: false,
  },
  work: {
    sentence: 'does what a worker and its flow runs do',
    effects: ['reads', 'runs', 'works'],
    showsSecrets: true,
  },
  deploy: {
    sentence: 'creates and changes deployments, and reads and runs them',
    effects: ['reads', 'runs', 'deploys'],
    showsSecrets: true,
  },
  all: { sentence: 'everything that no job is refused', effects: [], showsSecrets: true },
}

const effects: ReadonlyMap<string, Effect> = new Map(
  EFFECTS.flatMap((effect) => OPERATIONS[effect].map((operation) => [operation, effect] as const)),
)

/** `path` is what follows the API's base, as it was sent, and has passed the ground floor. Without a policy, everything passes. */
export function ruleOn(method: string, path: string, policy: Policy | undefined): Ruling {
  const operation = operationOf(method, path.replace(WORKSPACE, ''))
  const effect = effects.get(operation)
  const { may, allow = [], deny = [] } = policy ?? { may: 'all' }
  const isListed = may === 'all' || (effect !== undefined && POLICIES[may].effects.includes(effect))
  const mayPass = !deny.includes(operation) && (isListed || allow.includes(operation))
  const facts = { mayPass, operation, hidesSecrets: !POLICIES[may].showsSecrets }
  return effect === undefined ? facts : { ...facts, effect }
}

const WORKSPACE = /^\/accounts\/[^/]+\/workspaces\/[^/]+/
