/** A profile as it stands in `profiles.toml`, and what it comes to. Types here; the rules in `resolve-profile.ts`. */
import type { Secret } from '../std/secret.js'

/** One `[profiles.NAME]` table. Every value as the string that Prefect makes of it; secrets as `Secret`. */
export interface ProfileEntry {
  readonly name: string
  /** Settings by canonical name (`PREFECT_API_URL`, …), without the two secrets. */
  readonly settings: Readonly<Record<string, string>>
  /** `PREFECT_API_KEY` in plain text. An empty string counts as set, as it does for Prefect 3. */
  readonly apiKey?: Secret
  /** `PREFECT_API_AUTH_STRING` in plain text. */
  readonly authString?: Secret
  /** Settings whose TOML value is no string: Prefect 2 turns them into one, Prefect 3 does not start with some. */
  readonly notStrings?: readonly string[]
  /** Secrets that stand in the file and are left out here: they hold characters that no header or line can carry. */
  readonly unusable?: readonly string[]
}

/** One good reading of `profiles.toml`. */
export interface ProfileFile {
  /** `active = "…"`, absent where the file does not say. */
  readonly active?: string
  /** In file order; names are unique. */
  readonly profiles: ReadonlyMap<string, ProfileEntry>
}

/** What the last look at the file found. The last good reading outlives a bad file. */
export interface ProfileReading {
  readonly path: string
  /** The last good reading; an empty one where there never was a file. */
  readonly file: ProfileFile
  /** Epoch ms of the last good reading. */
  readonly readAt: number
  readonly state: 'good' | 'missing' | 'empty' | 'invalid' | 'unreadable'
  /** Why `file` is older than what is on the disk: a sentence with the line where there is one. Never a value of the file. */
  readonly problem?: string
  /** What a person should know about the file itself (permissions, a byte order mark): each names the remedy. */
  readonly warnings?: readonly string[]
}

export type ProfileKind = 'cloud' | 'server' | 'none'

/** A profile with every rule applied. */
export interface ResolvedProfile {
  readonly name: string
  /** Why this one: "profile 'cloud' is active in profiles.toml". */
  readonly because: string
  /** `bundled`: one of those Prefect brings along, not (or not yet) in the user's file. */
  readonly source: 'file' | 'bundled'
  readonly isActive: boolean
  readonly kind: ProfileKind
  readonly apiUrl?: string
  readonly cloudApiUrl: string
  readonly cloudUiUrl: string
  /** Only where the URL names one. Lower-case UUIDs. */
  readonly workspace?: { readonly accountId: string; readonly workspaceId: string }
  /** The plain-text key in the file. */
  readonly fileKey?: Secret
  /** The plain-text auth string in the file. */
  readonly fileAuthString?: Secret
  /** What a person should know about this profile: each a sentence that names the thing and the remedy. */
  readonly warnings: readonly string[]
}

/** One change of the file. Names and values are checked before anything is written. */
export type ProfileEdit =
  | { readonly kind: 'set_active'; readonly name: string }
  | { readonly kind: 'create'; readonly name: string; readonly settings: Readonly<Record<string, string>> }
  | {
      readonly kind: 'set'
      readonly name: string
      /** `undefined` removes the setting. The profile is created where it is missing. */
      readonly settings: Readonly<Record<string, string | Secret | undefined>>
    }
  | { readonly kind: 'delete'; readonly name: string }
  | { readonly kind: 'rename'; readonly name: string; readonly to: string }

/** The profile file as the daemon holds it: always the last good reading, changed only by `edit`. */
export interface ProfileStore {
  reading(): ProfileReading
  /** Looks at the disk if the last look is older than a second, or at once when `force`d. */
  refresh(options?: { readonly force?: boolean }): Promise<ProfileReading>
  /**
   * Applies all edits in one atomic write that keeps comments, order, unknown keys and mode, and answers the new reading.
   * Rejects with `profiles_file_invalid` (the file on disk can't be parsed: nothing is written), `profiles_file_changed`,
   * `profiles_file_unreadable`, `profile_exists`, `profile_not_found` or `disk_failed`.
   */
  edit(edits: readonly ProfileEdit[]): Promise<ProfileReading>
  /** Calls back after every change of the reading (content, state or problem). Returns the way to stop. */
  onChange(listener: (reading: ProfileReading) => void): () => void
  close(): Promise<void>
}
