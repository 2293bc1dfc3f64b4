// Writes schemas of the classes that Strimzi reads its objects into: java -cp 'jars/*' Schemas.java FOLDER
import io.fabric8.crdv2.generator.CRDGenerator;
import io.strimzi.api.kafka.model.kafka.Kafka;
import io.strimzi.api.kafka.model.nodepool.KafkaNodePool;
import java.io.File;

public class Schemas {
  public static void main(String[] words) {
    new CRDGenerator().customResourceClasses(Kafka.class, KafkaNodePool.class).inOutputDir(new File(words[0])).generate();
  }
}
