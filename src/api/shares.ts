/** Shared keys: how each share stands, and what a person does with it. */

import type { BrokerError } from '../base/errors.js'
import type { ApiServer } from '../http/schema.js'
import { leastOverlapMs } from '../share/pace.js'
import { dueAt } from '../share/plan.js'
import type { ProbeFindings } from '../share/probe.js'
import type { ShareFacts } from '../share/shares.js'
import { SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { Secret } from '../std/secret.js'
import { reachesProfile } from '../tokens/access.js'
import { empty } from '../wire/common.js'
import {
  adoptShareBody,
  initShareBody,
  type ProbeAnswer,
  probeAnswer,
  probeShareBody,
  removedSecretAnswer,
  type ShareView,
  shareList,
  shareParams,
  shareProfileBody,
  shareSecretAnswer,
  shareSecretBody,
  shareSecretParams,
  shareView,
} from '../wire/shares.js'
import type { RouteContext } from './context.js'
import { renderTime, seesAll } from './view.js'

export function shareRoutes(api: ApiServer, context: RouteContext): void {
  const { guard, shares, shareSecrets, trail } = context
  api.get(
    '/v1/shares',
    {
      config: { needs: 'inspect', summary: 'The shares of config.toml and how they stand' },
      schema: { response: { 200: shareList } },
    },
    async (request, reply) => {
      const caller = guard.callerOf(request)
      const all = shares.list().map(renderShare)
      const isVisible = (profile: string) => seesAll(caller) || reachesProfile(caller, profile)
      const visible = all.map((one) => ({ ...one, profiles: one.profiles.filter(isVisible) }))
      return reply.send({ shares: visible, secrets: seesAll(caller) ? [...shareSecrets.list()] : [] })
    },
  )
  api.post(
    '/v1/shares/:share/init',
    {
      config: { needs: 'admin', summary: "Make a service account's key and put it into the store" },
      schema: { params: shareParams, body: initShareBody, response: { 201: shareView } },
    },
    async (request, reply) => {
      const { service_account: serviceAccount, every_s, overlap_s, lifetime_s } = request.body
      const pace = defined({ everyMs: ms(every_s), overlapMs: ms(overlap_s), lifeMs: ms(lifetime_s) })
      const facts = await shares.init(request.params.share, { serviceAccount, ...pace })
      trail.done(request, guard.callerOf(request), 'share_initialised')
      return reply.code(201).send(renderShare(facts))
    },
  )
  profileRoutes(api, context)
  probeRoute(api, context)
  secretRoutes(api, context)
  api.post(
    '/v1/shares/:share/rotate',
    {
      config: { needs: 'admin', summary: 'Rotate the shared key as soon as every machine has the last one' },
      schema: { params: shareParams, response: { 200: shareView } },
    },
    async (request, reply) => {
      const facts = await shares.rotate(request.params.share)
      trail.done(request, guard.callerOf(request), 'share_rotated')
      return reply.send(renderShare(facts))
    },
  )
  api.post(
    '/v1/shares/:share/adopt',
    {
      config: {
        needs: 'admin',
        summary: "Make Prefect's newest key, which a person has made, the shared one",
      },
      schema: { params: shareParams, body: adoptShareBody, response: { 200: shareView } },
    },
    async (request, reply) => {
      const facts = await shares.adopt(request.params.share, new Secret(request.body.api_key))
      trail.done(request, guard.callerOf(request), 'share_adopted')
      return reply.send(renderShare(facts))
    },
  )
}

function probeRoute(api: ApiServer, { guard, shares, trail }: RouteContext): void {
  api.post(
    '/v1/shares/:share/probe',
    {
      config: {
        needs: 'admin',
        summary: 'Try what Prefect does with the keys of a service account that nobody needs',
      },
      schema: { params: shareParams, body: probeShareBody, response: { 200: probeAnswer } },
    },
    async (request, reply) => {
      const gone = new AbortController()
      reply.raw.once('close', () => gone.abort())
      trail.done(request, guard.callerOf(request), 'share_probed')
      const found = await shares.probe(request.params.share, request.body.service_account, gone.signal)
      return reply.send(renderProbe(found))
    },
  )
}

function renderProbe({
  serviceAccount,
  acceptedAfterMs,
  listedAfterMs,
  endedAfterMs,
  hasOverlap,
  older,
  isLeft,
  leftOver,
}: ProbeFindings): ProbeAnswer {
  const inSeconds = (span: number | undefined) =>
    span === undefined ? undefined : Math.ceil(span / SECOND_MS)
  return {
    ...{ service_account: serviceAccount, has_overlap: hasOverlap, older_keys: older },
    ...{ is_left: isLeft, left_over: [...leftOver] },
    ...defined({
      accepted_after_s: inSeconds(acceptedAfterMs),
      listed_after_s: inSeconds(listedAfterMs),
      ended_after_s: inSeconds(endedAfterMs),
    }),
  }
}

function secretRoutes(api: ApiServer, { guard, shareSecrets, trail }: RouteContext): void {
  api.put(
    '/v1/share-secrets/:secret',
    {
      config: { needs: 'admin', summary: 'Put a secret for the store of a share into the vault' },
      schema: { params: shareSecretParams, body: shareSecretBody, response: { 200: shareSecretAnswer } },
    },
    async (request, reply) => {
      const { secret } = request.params
      await shareSecrets.put(secret, new Secret(request.body.value))
      trail.done(request, guard.callerOf(request), 'share_secret_put')
      return reply.send({ secret })
    },
  )
  api.delete(
    '/v1/share-secrets/:secret',
    {
      config: { needs: 'admin', summary: 'Remove a secret for the store of a share from the vault' },
      schema: { params: shareSecretParams, response: { 200: removedSecretAnswer } },
    },
    async (request, reply) => {
      const { secret } = request.params
      const outcome = (await shareSecrets.remove(secret)) ? 'removed' : 'already_gone'
      trail.done(request, guard.callerOf(request), 'share_secret_removed')
      return reply.send({ secret, outcome })
    },
  )
}

function profileRoutes(api: ApiServer, { guard, shares, trail }: RouteContext): void {
  api.post(
    '/v1/shares/:share/use',
    {
      config: { needs: 'admin', summary: 'Serve the shared key for a profile' },
      schema: { params: shareParams, body: shareProfileBody, response: { 200: shareView } },
    },
    async (request, reply) => {
      const { profile } = request.body
      const facts = await shares.use(request.params.share, profile)
      trail.done(request, guard.callerOf(request), 'share_used', { profile })
      return reply.send(renderShare(facts))
    },
  )
  api.post(
    '/v1/shares/:share/leave',
    {
      config: { needs: 'admin', summary: 'Forget the shared key for a profile; it lives on' },
      schema: { params: shareParams, body: shareProfileBody, response: { 200: empty } },
    },
    async (request, reply) => {
      const { profile } = request.body
      await shares.leave(request.params.share, profile)
      trail.done(request, guard.callerOf(request), 'share_left', { profile })
      return reply.send({})
    },
  )
}

function ms(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : seconds * SECOND_MS
}

function renderShare({
  name,
  where,
  rotateWith,
  record,
  standing,
  trouble,
  document,
  rotator,
}: ShareFacts): ShareView {
  return {
    ...{ name, where, standing, profiles: [...(record?.profiles ?? [])] },
    ...defined({
      rotate_with: rotateWith,
      machine: record?.machine,
      unpublished: unpublishedOf(record, document),
      held_number: record?.held?.n,
      trouble: trouble && renderTrouble(trouble),
      rotator:
        rotator &&
        defined({ role: rotator.role, problem: rotator.problem && renderTrouble(rotator.problem) }),
      document: document && renderDocument(document, rotateWith === undefined ? undefined : record?.machine),
    }),
  }
}

function renderTrouble({ code, message, hint }: BrokerError): NonNullable<ShareView['trouble']> {
  return { code, message, ...defined({ hint }) }
}

/** Absent: none. */
function unpublishedOf(record: ShareFacts['record'], document: ShareFacts['document']): number | undefined {
  const createdAt = document?.current.createdAt ?? 0
  const count = record?.kept.filter((key) => key.createdAt > createdAt).length ?? 0
  return count === 0 ? undefined : count
}

/** `machine`: this one, if it may rotate. */
function renderDocument(
  document: NonNullable<ShareFacts['document']>,
  machine: string | undefined,
): NonNullable<ShareView['document']> {
  const { n, serviceAccount, current, pace, claim, mintBy, foreign } = document
  return {
    number: n,
    service_account: serviceAccount.name,
    key_id: current.id,
    issued_at: renderTime(current.createdAt),
    every_s: pace.everyMs / SECOND_MS,
    overlap_s: pace.overlapMs / SECOND_MS,
    least_overlap_s: Math.ceil(leastOverlapMs(pace) / SECOND_MS),
    lifetime_s: pace.lifeMs / SECOND_MS,
    foreign_keys: foreign.map(({ id }) => id),
    ...defined({
      expires_at: renderTime(current.expiresAt),
      rotates_at: renderTime(machine === undefined ? undefined : dueAt(document, machine)),
      turn_of: claim?.machine,
      mint_by: renderTime(mintBy),
    }),
  }
}
