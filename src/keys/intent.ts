/** The intent of a change: what it will do, and what it found. */

import type { ProfileEdit, ProfileFile } from '../profiles/profile.js'
import { defined } from '../std/defined.js'
import type { Secret } from '../std/secret.js'
import { planEdits } from './file-edits.js'
import type { ChangeEntry, ChangeOutcome } from './journal.js'
import type { KeyKeeper, NewKey } from './keeper.js'

/** A key that must be in the vault before anything else changes. */
export interface PlannedKey {
  readonly key: Secret
  /** `item`: its name if the key is not known yet. */
  readonly about: NewKey
  /** Whether the profile's table of the file has it: from there it goes only once it is in the vault. */
  readonly isInFile?: boolean
  /** Whether the change goes on if the vault does not take it. */
  readonly isOptional?: boolean
}

/** What a change does, in this order; each step is durable before the next. */
export interface ChangePlan {
  /** For the log. */
  readonly act: string
  readonly keys?: readonly PlannedKey[]
  readonly authString?: { readonly item: string; readonly apiUrl: string; readonly text: Secret }
  readonly edits?: readonly ProfileEdit[]
  /** `promote`: the first of the planned keys. */
  readonly outcome?: Omit<ChangeOutcome, 'promote'> & {
    readonly promote?: Omit<NonNullable<ChangeOutcome['promote']>, 'item'>
  }
}

export function isNothing({ act: _, edits = [], ...rest }: ChangePlan): boolean {
  return edits.length === 0 && Object.keys(rest).length === 0
}

/** The entry with what is found now, and the edits with the values that they expect. */
export function intend(
  { id, startedAt, keeper }: { readonly id: string; readonly startedAt: number; readonly keeper: KeyKeeper },
  file: ProfileFile,
  profiles: readonly string[],
  plan: ChangePlan,
): { readonly entry: ChangeEntry; readonly edits: readonly ProfileEdit[] } {
  const planned = (plan.keys ?? []).map((one, index, all) => {
    const known = keeper.find(one.key, one.about.cloudApiUrl)
    const twin = all.slice(0, index).find(({ key }) => key.equals(one.key))
    return {
      ...one,
      isNew: known === undefined && twin === undefined,
      item: (known ?? twin?.about ?? one.about).item,
    }
  })
  const inFile = planned.filter(({ isInFile }) => isInFile)
  const { tables, undo, isReversible, edits } = planEdits(
    file,
    plan.edits ?? [],
    profiles,
    (profile) => inFile.find(({ about }) => about.profile === profile)?.item,
  )
  const { promote, ...outcome } = plan.outcome ?? {}
  const [first] = planned
  const entry: ChangeEntry = {
    kind: 'change',
    id,
    profile: profiles[0] ?? '',
    act: plan.act,
    step: 'intended',
    decidedBy: isReversible ? 'ledger' : 'file',
    startedAt,
    tables: tables.map((table) => {
      const { currentItem: item, generation } = keeper.profile(table.profile)
      return { ...table, generation, ...defined({ item }) }
    }),
    undo,
    created: [
      ...planned.flatMap(({ isNew, item }) => (isNew ? [item] : [])),
      ...(plan.authString === undefined ? [] : [plan.authString.item]),
    ],
    keys: planned.map(({ item, isInFile, about }) => ({
      item,
      ...(isInFile ? { profile: about.profile } : {}),
    })),
    outcome: {
      ...outcome,
      ...(promote === undefined || first === undefined ? {} : { promote: { ...promote, item: first.item } }),
    },
  }
  return { entry, edits }
}
