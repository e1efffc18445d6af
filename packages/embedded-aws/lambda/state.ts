import { createHash } from 'node:crypto'
import * as z from 'zod'
import { readIfThere, type writeWhole } from '../files.ts'
import { inUse } from './errors.ts'

/** What Lambda shows of a mapping. That of the poller behind it, which is the program's own, has more. */
export interface ShownMapping {
  queueArn: string
  batchSize: number
  maximumBatchingWindowInSeconds: number
  maximumConcurrency: number
  functionName: string
  functionResponseTypes: ['ReportBatchItemFailures'] | []
}

/** Ids of mappings. */
const stateSchema = z.strictObject({ paused: z.array(z.uuid()) })

/** Has a poller take messages, or no more; done when it is so. */
export type Enable = (enabled: boolean) => Promise<void>

export interface Mapping extends Readonly<ShownMapping> {
  uuid: string
  state: 'Enabled' | 'Enabling' | 'Disabled' | 'Disabling'
  /** Seconds since 1970. */
  lastModified: number
}
export type Mappings = ReturnType<typeof openMappings>

/**
 * @param file where it is kept which mappings are paused
 * @throws Error when the file of an earlier run cannot be read
 */
export function openMappings(file: string, write: typeof writeWhole, now: () => Date) {
  let paused = readPaused(file)
  const mappings = new Map<string, Mapping & { enable: Enable }>()
  const seconds = (): number => Math.floor(now().getTime() / 1_000)
  return {
    all: (): Mapping[] => [...mappings.values()],
    find: (uuid: string): Mapping | undefined => mappings.get(uuid),
    /** @returns whether the mapping is enabled: one that was paused before a restart is not */
    add: (definition: ShownMapping, enable: Enable): boolean => {
      const uuid = idOf(definition)
      const state = paused.includes(uuid) ? 'Disabled' : 'Enabled'
      mappings.set(uuid, { ...definition, uuid, enable, lastModified: seconds(), state })
      return state === 'Enabled'
    },
    /** Begins a change, which is made when the poller has made it. */
    change: (uuid: string, enabled: boolean): void => {
      const mapping = mappings.get(uuid)
      if (mapping === undefined) return
      if (mapping.state.endsWith('ing')) throw inUse(mapping.state)
      const next = [...paused.filter((one) => one !== uuid), ...(enabled ? [] : [uuid])]
      write(file, { paused: next })
      paused = next
      Object.assign(mapping, { lastModified: seconds(), state: enabled ? 'Enabling' : 'Disabling' })
      const done = (): void => {
        mapping.state = enabled ? 'Enabled' : 'Disabled'
      }
      mapping.enable(enabled).then(done, done)
    },
  }
}

/** The same after a restart. */
function idOf({ queueArn, functionName }: ShownMapping): string {
  const hex = createHash('sha256').update(`${queueArn} ${functionName}`).digest('hex')
  // Of version 8, which is free to be made of anything (RFC 9562).
  return hex.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*$/, '$1-$2-8$3-8$4-$5')
}

function readPaused(file: string): string[] {
  try {
    return stateSchema.parse(JSON.parse(readIfThere(file) ?? '{"paused":[]}')).paused
  } catch (cause) {
    if (!(cause instanceof SyntaxError || cause instanceof z.ZodError)) throw cause
    throw new Error(
      `The paused event source mappings in ${file} cannot be read; delete the file to have none paused, or restore it.`,
      { cause },
    )
  }
}
