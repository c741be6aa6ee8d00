/** Prefect Cloud's answers as schemas. Unknown fields are ignored; known ones must be right. */

import { z } from 'zod'
import { defined } from '../std/defined.js'
import { Secret } from '../std/secret.js'
import { plainText } from '../std/text.js'
import type { Account, ServiceAccount } from './account.js'
import type { CloudKey, CloudUser, MintedKey, Workspace } from './cloud.js'
import type { CloudAnswer } from './exchange.js'
import { isSendableKey } from './key.js'
import { describeBody, isJson, parseJson, unexpected } from './refusals.js'

/** Goes into URLs. */
const id = z.string().regex(/^[A-Za-z0-9_-]{1,100}$/)
/** Prefect's clients compare URLs as strings; they write ids in lower case. */
const urlId = id.transform((text) => text.toLowerCase())
/** Goes to terminals. */
const label = z.string().transform(toLabel)
const optionalLabel = label.nullish().transform((text) => text || undefined)

/** RFC 3339 with any offset and precision, in UTC if it has no offset. Epoch ms. */
const time = z.iso
  .datetime({ offset: true, local: true })
  .transform((text) => Date.parse(/(Z|[+-]\d{2}:\d{2})$/i.test(text) ? text : `${text}Z`))
  .refine(Number.isFinite)
const optionalTime = time.nullish().transform((at) => at ?? undefined)

export const userAnswer = z
  .object({
    id,
    handle: optionalLabel,
    email: optionalLabel,
    first_name: optionalLabel,
    last_name: optionalLabel,
  })
  .transform(({ id, handle, email, first_name, last_name }): CloudUser => {
    const name = [first_name, last_name].filter(Boolean).join(' ')
    return { id, handle: handle ?? email ?? id, ...defined({ email, name: name || undefined }) }
  })

export const workspacesAnswer = z.array(
  z
    .object({
      account_id: urlId,
      account_handle: label,
      account_name: optionalLabel,
      workspace_id: urlId,
      workspace_handle: label,
      workspace_name: optionalLabel,
    })
    .transform(
      (row): Workspace => ({
        accountId: row.account_id,
        accountHandle: row.account_handle,
        workspaceId: row.workspace_id,
        workspaceHandle: row.workspace_handle,
        ...defined({ accountName: row.account_name, workspaceName: row.workspace_name }),
      }),
    ),
)

const keyFields = z.object({ id, name: label, created: optionalTime, expiration: optionalTime })

export const keyAnswer = keyFields.transform(toKey)

export const keysAnswer = z.array(keyAnswer)

export const mintedKeyAnswer = keyFields
  .extend({ key: z.string().refine(isSendableKey) })
  .transform(({ key, ...fields }): MintedKey => ({ ...toKey(fields), key: new Secret(key) }))

const serviceAccountFields = z.object({
  id,
  name: label,
  account_role_name: optionalLabel,
  /** Null if the service account has none. */
  api_key: keyFields.nullish(),
})

const serviceAccountAnswer = serviceAccountFields.transform(toServiceAccount)

export const serviceAccountsAnswer = z.array(serviceAccountAnswer)

/** Of a creation: the one answer that shows the key. */
export const newServiceAccountAnswer = serviceAccountFields
  .extend({ api_key: mintedKeyAnswer })
  .transform(({ api_key: minted, id: itsId, name, account_role_name: role }) => ({
    account: { id: itsId, name, ...defined({ role }) } satisfies ServiceAccount,
    minted,
  }))

export const rotatedKeyAnswer = z.object({ api_key: mintedKeyAnswer }).transform(({ api_key }) => api_key)

export const rolesAnswer = z.array(z.object({ id, name: label }))

export const membersAnswer = z.array(
  z
    .object({ user_id: id, account_role_name: optionalLabel })
    .transform(({ user_id: userId, account_role_name: role }) => ({ userId, ...defined({ role }) })),
)

export const accountsAnswer = z.array(
  z
    .object({ account_id: urlId, account_handle: label })
    .transform((row): Account => ({ accountId: row.account_id, accountHandle: row.account_handle })),
)

export const newWorkspaceAnswer = z.object({ id: urlId }).transform((row) => row.id)

/** Of a change whose answer says nothing that is needed: any list. */
export const anyListAnswer = z.array(z.unknown())

function toServiceAccount(row: z.output<typeof serviceAccountFields>): ServiceAccount {
  const { created, expiration } = row.api_key ?? {}
  const keyLifeMs = created === undefined || expiration === undefined ? undefined : expiration - created
  const key = row.api_key ? toKey(row.api_key) : undefined
  return { id: row.id, name: row.name, ...defined({ role: row.account_role_name, key, keyLifeMs }) }
}

function toKey({ id, name, created, expiration }: z.output<typeof keyFields>): CloudKey {
  return { id, name, ...defined({ createdAt: created, expiresAt: expiration }) }
}

/** The answer, parsed by `schema`. Throws `prefect_unexpected`, which names the wrong field and never a value. */
export function readAnswer<T>(
  schema: z.ZodType<T>,
  answer: CloudAnswer,
  asked: { readonly host: string; readonly purpose: string },
): T {
  const json = isJson(answer) ? parseJson(answer.text) : undefined
  if (json === undefined) throw unexpected(asked, describeBody(answer))
  const read = schema.safeParse(json)
  if (read.success) return read.data
  const path = read.error.issues[0]?.path.map(String).join('.') ?? ''
  const where = path === '' ? 'at the top level' : `'${plainText(path, 80)}'`
  throw unexpected(asked, `${answer.status} and unexpected JSON (${where})`)
}

/** A name as answers show it. */
export function toLabel(text: string): string {
  return plainText(text, 200)
}
