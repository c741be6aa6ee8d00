/** The audit log: who got or changed what, and who was refused. */

import type { AuditEntry } from '../../audit/audit.js'
import { sendPages } from '../../http/long-list.js'
import type { ApiServer } from '../../http/schema.js'
import { type AuditEntry as AuditEntryView, auditList, auditQuery } from '../../wire/events.js'
import type { RouteContext } from '../context.js'
import { renderTime } from '../view.js'

/** `GET /v1/audit`: entries at or after `since`, of at most the newest 10 000. */
export function auditRoutes(api: ApiServer, { audit }: RouteContext): void {
  api.get(
    '/v1/audit',
    {
      config: { onPage: true, needs: 'admin', summary: 'The audit log, oldest entry first' },
      schema: { querystring: auditQuery, response: { 200: auditList } },
    },
    async (request, reply) => {
      const { since, token } = request.query
      const pages = await audit.read(since === undefined ? undefined : Date.parse(since))
      return sendPages(reply, 'entries', token === undefined ? pages : ofToken(pages, token), renderEntry)
    },
  )
}

function* ofToken(pages: Iterable<readonly AuditEntry[]>, token: string): Iterable<readonly AuditEntry[]> {
  for (const page of pages)
    yield page.filter(({ tokenId, tokenName, aboutId, aboutName }) =>
      [tokenId, tokenName, aboutId, aboutName].includes(token),
    )
}

/** No secret is in an entry: keys are named by fingerprint, tokens by id. What is undefined is not in the JSON. */
function renderEntry(entry: AuditEntry): Rendered {
  return {
    at: renderTime(entry.at),
    action: entry.action,
    outcome: entry.outcome,
    door: entry.door,
    profile: entry.profile,
    fingerprint: entry.fingerprint,
    token: entry.tokenId,
    token_name: entry.tokenName,
    about: entry.aboutId,
    about_name: entry.aboutName,
    operation: entry.operation,
    agent: entry.agent,
    code: entry.code,
    caller: entry.caller,
    count: entry.count,
  }
}

type Rendered = { readonly [Field in keyof AuditEntryView]-?: AuditEntryView[Field] | undefined }
