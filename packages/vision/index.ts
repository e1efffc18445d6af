import { availableParallelism } from 'node:os'
import type { Reading, Sight } from './answers.ts'
import { modelFolder, moderationFolder, textFolder } from './built-in.ts'
import type { Moderation } from './moderation.ts'
import type { Picture } from './pixels.ts'
import { createThreads } from './threads.ts'
import type { Folders } from './worker.ts'

export {
  facesOf,
  type Label,
  labelModelVersion,
  labelsOf,
  MODERATION_MODEL_VERSION,
  type ModerationLabel,
  moderationLabelsOf,
  type Reading,
  type Sight,
  TEXT_MODEL_VERSION,
  type TextDetection,
  textOf,
} from './answers.ts'
export { readInstalled } from './installed.ts'
export { NotUsable, titleOf } from './manifest.ts'
export { type ModelsEnvironment, modelsFolder } from './models-folder.ts'
export type { Moderation } from './moderation.ts'
export type { Picture } from './pixels.ts'

/** The most pixels of a side that are of use: faces from 27 pixels on are those that Rekognition finds from 40 of 1,920. */
export const MOST_SIDE = 1_280

export interface Vision {
  /**
   * What is in a picture.
   *
   * @throws NotUsable where the models cannot be used; Error where a worker has ended
   */
  see: (picture: Picture) => Promise<Sight>
  /**
   * What is written in a picture, by models of its own: the one can be usable without the other.
   *
   * @throws as `see`
   */
  read: (picture: Picture) => Promise<Reading>
  /**
   * What kind of picture it is for a moderator, by a model that users install.
   *
   * @throws as `see`; NotUsable also where that model is not installed
   */
  moderate: (picture: Picture) => Promise<Moderation>
  /** Loads what `see` needs before the first picture comes. */
  warm: () => void
  stop: () => Promise<void>
}

/** Whether models and runtime are installed. */
export const isInstalled = (): boolean => modelFolder() !== undefined
/** Whether the model of moderation is installed. */
export const hasModeration = (): boolean => moderationFolder() !== undefined

/** Each has the models for itself, about 200 MB. */
const MOST_THREADS = 4

/**
 * Models in threads of their own, so that this one stays free to answer. They start as they are needed.
 *
 * @param options.folder of the models
 * @param options.added models that people have added
 * @param options.textFolder of those that read
 * @param options.moderationFolder of the one that moderates
 * @param options.script what a thread runs
 */
export function createVision(options: Partial<Folders> & { threads?: number; script?: URL } = {}): Vision {
  const { script = new URL('./worker.ts', import.meta.url) } = options
  const { threads = Math.min(MOST_THREADS, Math.max(1, availableParallelism() - 1)) } = options
  const { ask, stop } = createThreads({
    threads,
    script,
    folders: () => ({
      folder: options.folder ?? modelFolder(),
      added: options.added ?? [],
      textFolder: options.textFolder ?? textFolder(),
      moderationFolder: options.moderationFolder ?? moderationFolder(),
    }),
  })
  const answered = <T>(what: T | undefined): T => {
    if (what === undefined) throw new Error('The thread of the models has not answered.')
    return what
  }

  return {
    see: async (picture) => answered((await ask({ asks: 'sight', picture })).sight),
    read: async (picture) => answered((await ask({ asks: 'reading', picture })).reading),
    moderate: async (picture) => answered((await ask({ asks: 'moderation', picture })).moderation),
    warm: () => {
      // What is wrong with the models is said when a picture comes.
      ask(undefined).catch(() => {})
    },
    stop,
  }
}
