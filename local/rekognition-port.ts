import { startService } from '../packages/embedded-aws/index.ts'
import { createRekognition } from './rekognition.ts'

type Options = Parameters<typeof createRekognition>[0]
/** Who answers as Rekognition, and how fast; see rekognition.ts. */
export type StandInOptions = Omit<Options, 'readObject'>

/** Rekognition alone, for a system whose other services are elsewhere. */
export const startRekognition = ({
  readObject,
  rekognition,
  ...port
}: Pick<Parameters<typeof startService>[0], 'port' | 'host' | 'allowedHosts'> & {
  readObject: Options['readObject']
  rekognition: StandInOptions
}): ReturnType<typeof startService> =>
  startService({
    ...port,
    name: 'RekognitionService',
    service: createRekognition({ readObject, ...rekognition }),
  })
