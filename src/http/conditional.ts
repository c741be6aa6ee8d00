/** Conditional requests: entity tags, `If-None-Match`, `Prefer: wait`, and the answer to them. */
import type { FastifyReply, FastifyRequest } from 'fastify'

/** The longest time that an answer is held, in milliseconds. */
const MAX_WAIT_MS = 300_000

/** `"<name>-<version>"`; names may be any TOML key, so what a header cannot hold is percent-encoded. */
export function entityTag(name: string, version: number): string {
  return `"${encodeURIComponent(name)}-${version}"`
}

/** Whether the header names this tag. `*` names nothing: it would hold an answer that the caller never saw. */
export function matchesTag(header: string | undefined, tag: string): boolean {
  if (header === undefined) return false
  return header.split(',').some((one) => one.trim().replace(/^W\//, '') === tag)
}

/** Milliseconds that the caller is ready to wait: `Prefer: wait=N`, N in seconds, cut at 300; 0 without. */
export function preferredWaitMs(header: string | readonly string[] | undefined): number {
  if (header === undefined) return 0
  const text = typeof header === 'string' ? header : header.join(',')
  for (const preference of text.split(',')) {
    const seconds = /^\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:;.*)?$/i.exec(preference)?.[1]
    if (seconds !== undefined) return Math.min(Number(seconds) * 1000, MAX_WAIT_MS)
  }
  return 0
}

/** Answers 304 where the caller has this version already; else lets `render` make the JSON. */
export function sendTagged(
  request: FastifyRequest,
  reply: FastifyReply,
  tag: string,
  render: () => string,
): FastifyReply {
  reply.header('etag', tag)
  if (matchesTag(request.headers['if-none-match'], tag)) return reply.code(304).send()
  return reply.type('application/json; charset=utf-8').send(render())
}
