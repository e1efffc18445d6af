import { RekognitionClient } from '@aws-sdk/client-rekognition'
import { createVision } from '../packages/vision/index.ts'
import { startRekognition } from '../rekognition/service.ts'
import { clientOptions } from '../shared/aws.ts'

/** Has the SDK ask the embedded Rekognition, over its port, with the models in another thread than those of the caller. */
export async function withSdk(work: (client: RekognitionClient) => Promise<void>): Promise<void> {
  const vision = createVision({ threads: 1 })
  const readObject = async () => undefined
  const server = await startRekognition({ port: 0, readObject, rekognition: { vision } })
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
  const client = new RekognitionClient(
    clientOptions({ endpoint: server.endpoint, region: 'us-east-1', credentials }),
  )
  try {
    await work(client)
  } finally {
    client.destroy()
    await server.stop()
    await vision.stop()
  }
}
