/** Answers with long lists: rendered a slice at a time, so that no other request waits for the whole of one. */

import { setImmediate } from 'node:timers/promises'
import type { FastifyReply } from 'fastify'

/** How many items are rendered in one turn. */
const SLICE = 200

/** Sends `{"NAME": […]}`, with each item as `render` gives it. */
export async function sendList<Item>(
  reply: FastifyReply,
  name: string,
  items: readonly Item[],
  render: (item: Item) => object,
): Promise<FastifyReply> {
  const parts = [Buffer.from(`{${JSON.stringify(name)}:[`)]
  for (let at = 0; at < items.length; at += SLICE) {
    const slice = items.slice(at, at + SLICE).map((item) => JSON.stringify(render(item)))
    parts.push(Buffer.from(`${at === 0 ? '' : ','}${slice.join(',')}`))
    await setImmediate()
  }
  parts.push(Buffer.from(']}'))
  return reply.type('application/json; charset=utf-8').send(Buffer.concat(parts))
}
