/** Files that the daemon keeps up to date for tools that read only files: added, listed, removed. The contract of the room. */

import type { BrokerError } from '../base/errors.js'
import type { FileContent } from '../wire/files.js'

/** What is durable about one file. No secret. */
export interface FileRecord {
  /** Absolute; its directory has no links. */
  readonly path: string
  readonly what: FileContent
  /** Absent: whichever is active. */
  readonly profile?: string
  /** Epoch ms. */
  readonly addedAt: number
  /** Fingerprints of the text that we wrote last, and of the one that was being written: any other text is not ours. */
  readonly written?: readonly string[]
}

export interface FileList {
  readonly files: readonly FileRecord[]
}

/**
 * `current`: it has what is served. `absent`: nothing is served for its profile, and the file is gone. `problem`: it has an older
 * text, or none, or another program's.
 */
export interface KeptFile extends Omit<FileRecord, 'written'> {
  readonly state: 'current' | 'absent' | 'problem'
  readonly problem?: BrokerError
}

export interface Files {
  /**
   * Begins to keep a file, durably. `isReplacing`: what is there may be overwritten. Rejects with `file_path_unsafe`,
   * `file_exists`, `profile_not_found`, `disk_failed`; then nothing has changed. What the daemon may not write is listed all the
   * same, with `file_path_read_only` as its problem.
   */
  add(wanted: {
    readonly path: string
    readonly what: FileContent
    readonly profile?: string
    readonly isReplacing: boolean
  }): Promise<KeptFile>
  list(): readonly KeptFile[]
  /** Brings all files up to date. Never rejects; `list` has what came of it. */
  look(): Promise<void>
  /** Stops, and removes the file if it is as we wrote it; resolves with whether it was. Rejects with `file_not_found`, `file_path_read_only`, `disk_failed`. */
  remove(path: string): Promise<{ readonly path: string; readonly isRemoved: boolean }>
}
