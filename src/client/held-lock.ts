/** Whether a daemon holds the state directory, though none of its sockets is there. */

// The fast path loads this: no package is imported here.
import { readdirSync } from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { SECOND_MS } from '../std/clock.js'

/** Never rejects. `lockDir`: of the state directory; its sockets say `holder` to whoever connects. */
export async function isLockHeld(lockDir: string): Promise<boolean> {
  const answers = await Promise.all(namesIn(lockDir).map((name) => ask(join(lockDir, name))))
  return answers.includes('holder')
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function ask(path: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = createConnection(path)
    let heard = ''
    const finish = () => {
      socket.destroy()
      resolve(heard)
    }
    socket.setEncoding('utf8').setTimeout(SECOND_MS, finish)
    socket.on('data', (text: string) => {
      heard = (heard + text).slice(0, 20)
    })
    socket.on('end', finish)
    socket.on('error', finish)
  })
}
