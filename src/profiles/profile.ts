/** Profiles: as written in `profiles.toml`, as resolved, their edits, and the store of them. */
import type { ConnectionSettings } from '../prefect/connection.js'
import type { Secret } from '../std/secret.js'

/** One `[profiles.NAME]` table: every value as the string that Prefect makes of it, secrets as `Secret`. */
export interface ProfileEntry {
  readonly name: string
  /** Settings by canonical name (`PREFECT_API_URL`, …), without the two secrets. */
  readonly settings: Readonly<Record<string, string>>
  /** `PREFECT_API_KEY` in plain text. An empty string counts as set, as in Prefect 3. */
  readonly apiKey?: Secret
  /** `PREFECT_API_AUTH_STRING` in plain text. */
  readonly authString?: Secret
  /** Settings whose TOML value is not a string: Prefect 2 converts them, Prefect 3 does not start with some. */
  readonly notStrings?: readonly string[]
  /** Secrets that have blanks around them in the file, with which Prefect sends them. */
  readonly trimmed?: readonly string[]
  /** Secrets in the file that are left out here because a header or a line cannot carry their characters. */
  readonly unusable?: readonly string[]
}

/** One good reading of `profiles.toml`. */
export interface ProfileFile {
  /** `active = "…"`, if the file says so. */
  readonly active?: string
  /** In file order; names are unique. */
  readonly profiles: ReadonlyMap<string, ProfileEntry>
}

/** What the last look at the file found. The last good reading outlives a bad file. */
export interface ProfileReading {
  readonly path: string
  /** The last good reading; without profiles if there never was one. */
  readonly file: ProfileFile
  /** Epoch ms of the last good reading. */
  readonly readAt: number
  readonly state: 'good' | 'missing' | 'empty' | 'invalid' | 'unreadable'
  /** Why `file` is older than the file on disk: a sentence, with the line if there is one. Never a value from the file. */
  readonly problem?: string
  /** The file has never been read since the start, so that nothing is known of any profile: not even that there is none. */
  readonly isUnread?: true
  /** What the user should know about the file itself (permissions, a byte order mark), each with its remedy. */
  readonly warnings?: readonly string[]
}

export type ProfileKind = 'cloud' | 'server' | 'none'

/** A profile with every rule applied. */
export interface ResolvedProfile {
  readonly name: string
  /**
   * Its URL is our proxy and its key a token of ours, as a client writes them that runs through the proxy: it stands for this
   * profile, whose key is served.
   */
  readonly aliasOf?: string
  /** Why this one: "profile 'cloud' is active in profiles.toml". */
  readonly because: string
  /** `bundled`: built into Prefect, and not (or not yet) in the user's file. */
  readonly source: 'file' | 'bundled'
  readonly isActive: boolean
  readonly kind: ProfileKind
  readonly apiUrl?: string
  readonly cloudApiUrl: string
  readonly cloudUiUrl: string
  /** The table names a Cloud API by `PREFECT_CLOUD_URL`, which Prefect 2 prefers to `PREFECT_CLOUD_API_URL`. */
  readonly hasOldCloudUrl?: true
  /** `PREFECT_UI_URL`, if the profile says where the pages of its server are. */
  readonly uiUrl?: string
  /** If the URL names one. Lower-case UUIDs. */
  readonly workspace?: { readonly accountId: string; readonly workspaceId: string }
  /** The plain-text key in the file. */
  readonly fileKey?: Secret
  /** The plain-text auth string in the file. */
  readonly fileAuthString?: Secret
  /** What the user should know about this profile: sentences, each with its remedy. */
  readonly warnings: readonly string[]
  /** Settings that Prefect's clients obey beside the pair or in place of it: sentences without a value. */
  readonly notes?: readonly string[]
  /** The certificates and headers with which its API is reached. */
  readonly connection?: ConnectionSettings
  /** `PREFECT_CLIENT_CUSTOM_HEADERS`, which may contain secrets. */
  readonly customHeaders?: Secret
}

/** One change of the file. Names and values are checked before anything is written. */
export type ProfileEdit =
  | {
      readonly kind: 'set_active'
      /** `undefined` removes the line. */
      readonly name: string | undefined
      /** Nothing happens if another profile is active; the one of `name` need not be there. */
      readonly ifActive?: string
    }
  | { readonly kind: 'create'; readonly name: string; readonly settings: Readonly<Record<string, string>> }
  | {
      readonly kind: 'set'
      readonly name: string
      /** `undefined` removes the setting. Creates the profile if it is missing. */
      readonly settings: Readonly<Record<string, string | Secret | undefined>>
      /**
       * What the file must say for the edit to happen, by setting: the fingerprint of the value (`Secret.fingerprint()`), or
       * null for "not set". Otherwise nothing is written and `profiles_file_changed` is thrown.
       */
      readonly expected?: Readonly<Record<string, string | null>>
    }
  | { readonly kind: 'delete'; readonly name: string }
  | { readonly kind: 'rename'; readonly name: string; readonly to: string }

/** A text that another program wrote into the file in the very moment in which an edit of ours replaced it. */
export interface Overwritten {
  /** What it says, if it can be parsed. */
  readonly file?: ProfileFile
  /** Our edit was applied to that text, and the file holds both. */
  readonly isMerged: boolean
  /** The private copy of the text, if it could not be merged. */
  readonly keptAt?: string
}

/** The profile file as the daemon holds it: always the last good reading. */
export interface ProfileStore {
  reading(): ProfileReading
  /** Whether the last look is younger than a second. */
  isFresh(): boolean
  /** Reads the file again unless the last look is that young, or at once with `force`. Resolves with the reading. */
  refresh(options?: { readonly force?: boolean }): Promise<ProfileReading>
  /**
   * Applies all edits in one atomic write that keeps comments, order, unknown keys and mode; resolves with the new
   * reading. Rejects, with nothing written, with `profiles_file_invalid` (the file on disk cannot be parsed),
   * `profiles_file_changed`, `profiles_file_unreadable`, `profile_exists`, `profile_not_found` or `disk_failed`.
   */
  edit(edits: readonly ProfileEdit[]): Promise<ProfileReading>
  /** Calls `listener` after every change of content, state or problem. Returns how to stop. */
  onChange(listener: (reading: ProfileReading) => void): () => void
  /** Calls `listener` for each overwritten text, also for those found before it came. Returns how to stop. */
  onOverwritten(listener: (found: Overwritten) => void): () => void
  close(): Promise<void>
}
