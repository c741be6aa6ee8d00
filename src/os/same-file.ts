/** Whether two paths lead to the same file, which need not exist yet. */
import { realpath } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** Through links. Never rejects. */
export async function isSameFile(one: string, other: string): Promise<boolean> {
  return one === other || (await canonical(one)) === (await canonical(other))
}

async function canonical(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch {
    return realpath(dirname(path)).then(
      (folder) => join(folder, basename(path)),
      () => path,
    )
  }
}
