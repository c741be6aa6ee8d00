/** Files that the daemon keeps up to date for tools that read only files. No secrets. */
import { z } from 'zod'
import { profileName, time } from './common.js'
import { FILE_CONTENTS } from './kinds.js'

export type FileContent = (typeof FILE_CONTENTS)[number]

const filePath = z.string().min(2).max(1_000).startsWith('/').meta({ description: 'an absolute path' })

export const addFileBody = z.strictObject({
  path: filePath,
  what: z.enum(FILE_CONTENTS).meta({
    description: 'key: the key alone; env: NAME=value lines; toml: a profiles.toml for PREFECT_PROFILES_PATH',
  }),
  profile: profileName.optional().meta({ description: 'absent: whichever is active' }),
  replace: z.boolean().optional().meta({ description: 'overwrite what is there' }),
})
export type AddFileBody = z.input<typeof addFileBody>

export const fileView = z.object({
  path: z.string(),
  what: z.enum(FILE_CONTENTS),
  profile: profileName.optional().meta({ description: 'absent: whichever is active' }),
  added_at: time,
  state: z.enum(['current', 'absent', 'problem']).meta({
    description: 'absent: nothing is served for its profile, so there is no file',
  }),
  problem: z.string().optional(),
  code: z.string().optional().meta({ description: 'of the problem' }),
  hint: z.string().optional(),
})
export type FileView = z.infer<typeof fileView>
export const fileList = z.object({ files: z.array(fileView) })
export type FileViews = z.infer<typeof fileList>

export const removeFileQuery = z.strictObject({ path: filePath })
export const removeFileAnswer = z.object({
  path: z.string(),
  removed: z.boolean().meta({ description: 'false: it was not as we wrote it, and is left' }),
})
