/** Answers with long lists: rendered a page at a time, so that no other request waits for the whole of one. */

import { setImmediate } from 'node:timers/promises'
import type { FastifyReply } from 'fastify'

/** Sends `{"NAME": […]}`, with each item as `render` gives it. Others get their turn between two pages. */
export async function sendPages<Item>(
  reply: FastifyReply,
  name: string,
  pages: Iterable<readonly Item[]>,
  render: (item: Item) => object,
): Promise<FastifyReply> {
  const parts: Buffer[] = []
  for (const page of pages) {
    const text = page.map((item) => JSON.stringify(render(item))).join(',')
    if (text !== '') parts.push(Buffer.from(parts.length === 0 ? text : `,${text}`))
    await setImmediate()
  }
  const body = [Buffer.from(`{${JSON.stringify(name)}:[`), ...parts, Buffer.from(']}')]
  return reply.type('application/json; charset=utf-8').send(Buffer.concat(body))
}
